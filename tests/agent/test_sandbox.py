"""What a hostile job can reach: nothing but its own, whether it has a process of its own or a standby's."""

import json
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from backend.core.wire import Assignment, Ended, Logs, ResultSaved, Started
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer

pytestmark = pytest.mark.integration


@pytest.fixture(params=["anew", "standby"])
def how(request: pytest.FixtureRequest) -> str:
    """Whether the process is started for the job, or waited for it."""
    said: str = request.param
    return said


def _want(control: ControlServer, agents: Agents, how: str, wanted: Assignment, *others: Assignment) -> Ended:
    """Run it, beside others, in the way that the test is about."""
    waiting = agents.stand_by(wanted) if how == "standby" else None
    with control.changed:
        control.wanted |= {each.id: each for each in (wanted, *others)}
    ended = control.wait_ended(wanted.id)
    if waiting is not None:
        assert control.bodies(wanted.id, Started)[0].pid == waiting.pid
    return ended


def _summary(
    control: ControlServer, agents: Agents, how: str, tries: list[tuple[str, str]], *others: Assignment, **more: Any
) -> dict[str, str]:
    wanted = attempt("agent_probe", {"tries": tries, **more})
    ended = _want(control, agents, how, wanted, *others)
    assert ended.outcome == "completed", ended
    (result,) = control.bodies(wanted.id, ResultSaved)
    found: dict[str, str] = result.summary
    return found


def test_a_job_reaches_nothing_of_the_host(control: ControlServer, agents: Agents, tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    neighbour = attempt("agent_sleeper", {"steps": 400})
    agent = agents.start(SECRET_OF_THE_AGENT="hidden")
    theirs = agents.folder / "assignments" / f"{neighbour.id}-1" / "job" / "spec.json"
    if how == "anew":  # a standby is for an instance that has nothing to do: the two begin together
        control.want(neighbour)
        control.wait(lambda: control.reports.get((neighbour.id, 1)))
        assert theirs.exists()
    reads = [str(secret), "/etc/shadow", str(theirs), f"/proc/{agent.process.pid}/environ", "/etc/hosts"]
    reads += [str(agents.folder / "agent.lock"), str(Path(__file__)), "/sys/kernel/notes"]
    writes = ["/job/x", "/x", "/opt/x", "/usr/x", "/etc/x", "/dev/x", "/opt/code/worker/__init__.py", "/proc/sys/x"]
    writes += ["/job/spec.json"]
    tries = [("read", name) for name in reads] + [("write", name) for name in writes]
    tries += [("connect", f"127.0.0.1:{control.port}"), ("connect", "10.0.0.1:80")]
    tries += [("processes", ""), ("environment", ""), ("user", "")]
    own = ["/job/work/x", "/tmp/x", "/dev/shm/x"]  # noqa: S108 # the sandbox's own
    tries += [("write", name) for name in own]
    found = _summary(control, agents, how, tries, neighbour)
    assert theirs.exists()
    opened = {name: said for name, said in found.items() if name.startswith(("read", "connect"))}
    assert all(said.startswith("refused") for said in opened.values()), opened
    assert {name: found[f"write {name}"] for name in writes if not found[f"write {name}"].startswith("refused")} == {}
    assert [found[f"write {name}"] for name in own] == ["written"] * 3
    assert "hidden" not in found["environment "]
    assert "TOKEN" not in found["environment "]
    processes = found["processes "].removeprefix("processes [").removesuffix("]").split(", ")
    assert len(processes) <= 3
    assert str(agents.folder.parent) not in str(list(found.values()))
    user = found["user "]
    assert "NoNewPrivs:1" in user
    for capabilities in ("CapEff", "CapPrm"):
        assert f"{capabilities}:0000000000000000" in user
    if os.geteuid() == 0:
        assert int(user.split()[1]) >= 2_000_000_000
        assert "CapBnd:0000000000000000" in user


def test_a_job_gets_no_namespace_no_odd_socket_and_no_descriptor(
    control: ControlServer, agents: Agents, how: str
) -> None:
    agents.start()
    flags = ["10000000", "10000011", "20000", "40000000", "50000011"]
    refused = [("namespace", f"unshare {each}") for each in flags] + [("namespace", "clone 10000011")]
    refused += [("family", "40"), ("family", "38"), ("family", "17")]  # AF_VSOCK, AF_ALG, AF_PACKET
    allowed = [("family", "1"), ("family", "2"), ("family", "10")]
    found = _summary(control, agents, how, [*refused, *allowed, ("descriptors", "")])
    assert [f"{action} {said}" for action, said in refused if not found[f"{action} {said}"].startswith("refused")] == []
    assert [found[f"{action} {said}"] for action, said in allowed] == ["opened"] * 3
    opened = json.loads(found["descriptors "])
    assert opened.pop("0") == "/dev/null"
    # Its output, its line to the agent; nothing of the agent or of bubblewrap.
    assert all(target.startswith(("pipe:", "socket:")) for target in opened.values()), opened
    assert len(opened) == 3, opened


def test_a_job_reaches_no_socket_of_the_host(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    name = f"modelyard-{secrets.token_hex(6)}"
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as unnamed,
    ):
        Path(folder).chmod(0o777)
        named.bind(f"{folder}/s")
        Path(f"{folder}/s").chmod(0o777)
        unnamed.bind(f"\x00{name}")
        for each in (named, unnamed):
            each.listen(1)
        found = _summary(control, agents, how, [("unix", f"{folder}/s"), ("unix", f"@{name}")])
    assert all(said.startswith("refused") for said in found.values()), found


def test_links_in_the_output_are_not_followed(control: ControlServer, agents: Agents, tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    agents.start()
    _summary(control, agents, how, [], link=str(secret))
    (bodies,) = (control.reports[key] for key in control.reports)
    (result,) = [report.body for report in bodies if isinstance(report.body, ResultSaved)]
    assert [file.name for file in result.files] == ["found.json"]
    assert b"secret" not in control.blobs.values()


def _failing(control: ControlServer, agents: Agents, how: str, deed: str, **changes: Any) -> Any:
    wanted = attempt("agent_misbehaves", {"how": deed}, **changes)
    ended = _want(control, agents, how, wanted)
    assert ended.outcome == "failed"
    assert ended.failure is not None
    return wanted.id, ended.failure


def test_a_memory_hog_is_out_of_memory(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    _, failure = _failing(control, agents, how, "memory", memory_limit_bytes=96 << 20)
    assert failure.failure_class == "out_of_memory"
    assert failure.peak_memory_bytes >= 90 << 20
    assert "96 MiB" in failure.reason
    assert failure.hint


def test_a_fork_bomb_is_limited(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    _, failure = _failing(control, agents, how, "forks", process_limit=20)
    assert failure.failure_class == "user_code"
    assert failure.exit_code == 3
    (line,) = [line for line in failure.log_tail if line.startswith("forked")]
    assert int(line.split()[1]) < 20


def test_a_full_disk_ends_the_job(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    _, failure = _failing(control, agents, how, "disk", disk_limit_bytes=16 << 20)
    assert failure.failure_class == "user_code"
    assert "disk limit of 16 MiB" in failure.reason


def test_a_deaf_job_is_killed_at_its_time_limit(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start(MODELYARD_STOP_GRACE_SECONDS="0.3")
    assignment_id, failure = _failing(control, agents, how, "deaf", max_runtime_seconds=1.0)
    assert failure.failure_class == "timeout"
    assert failure.exit_code == 137
    assert 1.2 < control.reports[assignment_id, 1][-1].elapsed_seconds < 6


def test_a_crash_keeps_its_last_lines(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    _, failure = _failing(control, agents, how, "crash")
    assert failure.failure_class == "user_code"
    assert failure.exit_code == 7
    assert failure.log_tail == [f"line {number}" for number in range(10, 30)]


def test_a_job_cannot_excuse_itself(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    _, failure = _failing(control, agents, how, "told")
    assert failure.failure_class == "user_code"
    assert failure.reason == "I excuse myself"


def test_a_job_without_a_result_has_failed(control: ControlServer, agents: Agents, how: str) -> None:
    agents.start()
    _, failure = _failing(control, agents, how, "silent")
    assert "without a result" in failure.reason


def test_an_entrypoint_that_is_not_allowed(control: ControlServer, agents: Agents) -> None:
    agents.start()
    wanted = attempt("http.server")
    control.want(wanted)
    ended = control.wait_ended(wanted.id)
    assert ended.failure is not None
    assert ended.failure.failure_class == "platform"
    assert "http.server" in ended.failure.reason


def test_no_bubblewrap_refuses_the_job_and_names_the_fix(
    control: ControlServer, agents: Agents, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    agents.start(PATH=str(tmp_path / "empty"))
    wanted = attempt("agent_sleeper", {"steps": 1})
    control.want(wanted)
    ended = control.wait_ended(wanted.id)
    assert ended.failure is not None
    assert ended.failure.failure_class == "platform"
    assert "install bubblewrap" in ended.failure.reason
    assert control.hellos[0].sandbox.startswith("none: ")


def test_a_flood_of_output_is_cut(control: ControlServer, agents: Agents) -> None:
    agents.start()
    wanted = attempt("agent_misbehaves", {"how": "flood"})
    control.want(wanted)
    assert control.wait_ended(wanted.id).outcome == "completed"
    lines = [line for logs in control.bodies(wanted.id, Logs) for line in logs.lines]
    kept = sum(map(len, lines))
    assert 1_000_000 < kept < 1_400_000
    assert any("of output dropped: more than 64 KiB/s" in line for line in lines)
    assert lines[-1] == "after the flood"
    assert max(map(len, lines)) < 17_000
