"""Control groups, version 2: a folder of plain files in its place shows what is written where."""

import os
from pathlib import Path

import pytest

from worker.agent import limits as limits_module
from worker.agent.limits import Limits, make_group, remove_groups

pytestmark = pytest.mark.unit

LIMITS = Limits(memory_bytes=1 << 30, cpu_count=1.5, process_limit=64, disk_bytes=1 << 30)


def _own(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(limits_module, "_own_groups", lambda: {"": path})


def test_version_2_limits_below_the_own_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "system.slice" / "agent.service"
    own.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (own / "cgroup.subtree_control").write_text("cpu memory pids")
    _own(monkeypatch, "system.slice/agent.service")
    group = make_group("modelyard-a-1", LIMITS, root=tmp_path)
    assert group.folders == [str(own / "modelyard-a-1")]
    assert group.limits_memory
    assert group.limits_processes
    written = {path.name: path.read_text() for path in (own / "modelyard-a-1").iterdir()}
    assert written == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "pids.max": "64",
        "cpu.max": "150000 100000",
    }
    assert not group.out_of_memory()
    (own / "modelyard-a-1" / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
    (own / "modelyard-a-1" / "memory.peak").write_text("12345\n")
    assert group.out_of_memory()
    assert group.peak_memory_bytes() == 12345


def test_version_2_without_delegation_limits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    _own(monkeypatch, "not/there")
    group = make_group("modelyard-a-1", LIMITS, root=tmp_path)
    assert group.folders == []
    assert not group.limits_memory
    assert group.enter_command(["true"]) == ["true"]


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups are root's here")
def test_real_groups_are_made_and_removed() -> None:
    group = make_group(f"modelyard-test-{os.getpid()}", LIMITS)
    if not group.folders:
        pytest.skip("no control group is writable on this host")
    assert all(Path(folder).is_dir() for folder in group.folders)
    remove_groups(group.folders)
    assert not any(Path(folder).exists() for folder in group.folders)
