"""What an assignment uses, counted from outside: a real agent, a job in its sandbox, the kernel's counters."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.core.wire import Ended, Utilisation
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer
from tests.agent.jobs.agent_busy import HELD_BYTES
from worker.agent import limits as limits_module
from worker.agent.gpus import open_gpus
from worker.agent.limits import ControlGroup, Limits, make_group
from worker.agent.utilisation import COST, LAST_PACE, PACE, Counters, Samples, pause_seconds, read_counters

LIMITS = Limits(memory_bytes=1 << 30, cpu_count=2.0, process_limit=64, disk_bytes=1 << 30)
NOTHING = Counters(cpu_seconds=0.0, memory_bytes=1, read_bytes=0, written_bytes=0)


@pytest.mark.integration
def test_a_busy_job_is_measured_until_its_end(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_busy", {"seconds": 3.0}, memory_limit_bytes=512 << 20, cpu_count=2.0)
    control.want(wanted)
    agents.start()
    assert control.wait_ended(wanted.id) == Ended(outcome="completed")
    said = control.bodies(wanted.id, Utilisation)
    assert said
    assert {(one.cpu_count, one.memory_limit_bytes) for one in said} == {(2.0, 512 << 20)}
    times = [at for one in said for at in one.times]
    spans = [span for one in said for span in one.spans]
    assert 2 <= len(times) <= 8
    assert times == sorted(times)
    assert sum(spans) < 10
    cores = [value for one in said for value in one.cpu_cores]
    assert 0.2 < max(cores) < 2.2  # a child that never rests, on a machine that others use too
    memory = [value for one in said for value in one.memory_bytes]
    assert HELD_BYTES < max(memory) < 512 << 20
    assert max(value for one in said for value in one.written_bytes_per_second) > 1 << 20
    assert all(one.gpu_share == [] and one.gpu_count == 0 for one in said) == (open_gpus() is None)
    kinds = [report.body for report in control.reports[wanted.id, 1]]
    assert isinstance(kinds[-1], Ended)


@pytest.mark.integration
def test_without_a_control_group_processes_are_counted_from_the_first_down() -> None:
    """Children that have ended and been waited for stay in the count; the rest of the host is never in it."""
    child = "sum(range(30_000_000))"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('x', flush=True); input()"
    )
    nothing = ControlGroup({}, unified=False)
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = read_counters(process.pid, nothing)
        beside = read_counters(os.getpid(), nothing)
        process.communicate(b"\n")
    assert found.cpu_seconds > 0.1
    assert 1 << 20 < found.memory_bytes < 1 << 30
    assert beside.memory_bytes > found.memory_bytes
    assert read_counters(process.pid, nothing) == Counters(
        cpu_seconds=0.0, memory_bytes=0, read_bytes=0, written_bytes=0
    )


@pytest.mark.unit
def test_looks_become_fewer_and_never_dear() -> None:
    assert [pause_seconds(age, 0.0) for age in (0.0, 60.0, 300.0, 1800.0, 50_000.0, 1e6)] == [
        *(pace for _, pace in PACE),
        LAST_PACE,
    ]
    assert pause_seconds(0.0, 0.02) == pytest.approx(0.02 / COST)
    looks, age = 0, 0.0
    while age < 28 * 86_400:
        age += pause_seconds(age, 0.0)
        looks += 1
    assert looks < 45_000


@pytest.mark.unit
def test_samples_are_rates_between_two_looks() -> None:
    samples = Samples(LIMITS, None)
    assert samples.take() is None
    after = Counters(cpu_seconds=3.0, memory_bytes=500, read_bytes=2000, written_bytes=100)
    samples.add(NOTHING, after, 2.0, None)
    samples.add(after, NOTHING, 2.0, None)  # a process took its counts with it
    said = samples.take()
    assert said is not None
    assert (said.cpu_cores, said.memory_bytes) == ([1.5, 0.0], [500.0, 1.0])
    assert (said.read_bytes_per_second, said.written_bytes_per_second) == ([1000.0, 0.0], [50.0, 0.0])
    assert said.spans == [2.0, 2.0]
    assert abs(said.times[-1] - time.time()) < 5
    assert samples.take() is None


@pytest.mark.unit
def test_a_version_2_group_counts_what_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "own" / "cgroup.subtree_control").write_text("cpu memory pids")
    monkeypatch.setattr(limits_module, "_own_groups", lambda: {"": "own"})
    group = make_group("one", LIMITS, root=tmp_path)
    folder = tmp_path / "own" / "one"
    assert (group.cpu_seconds(), group.working_memory_bytes(), group.process_ids()) == (None, None, [])
    (folder / "cgroup.procs").write_text("12\n34\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (folder / "memory.current").write_text("1000\n")
    (folder / "memory.stat").write_text("anon 600\ninactive_file 300\nactive_file 100\n")
    assert (group.cpu_seconds(), group.working_memory_bytes(), group.process_ids()) == (2.5, 700, [12, 34])
