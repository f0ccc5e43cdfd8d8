"""A standby becomes the next attempt's process, serves that one alone, and leaves nothing however it ends."""

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from backend.core.wire import CheckpointSaved, Ended, FileRef, Logs, Progress, ResultSaved, Started
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer
from tests.agent.test_inputs import dataset
from tests.platform.waiting import living

pytestmark = pytest.mark.integration


def _gone(process: psutil.Process) -> bool:
    return not living([process])


def _left(agents: Agents) -> list[Path]:
    return list((agents.folder / "standby").iterdir())


def _groups(agents: Agents) -> list[Path]:
    """Control groups of the standby that waits."""
    (folder,) = _left(agents)
    return [Path(group) for group in json.loads((folder / "groups.json").read_text())]


def test_it_becomes_the_job_with_inputs_and_checkpoint(control: ControlServer, agents: Agents) -> None:
    agents.start()
    state = control.add_blob(b'{"step": 3}')
    checkpoint = {"step": 3, "files": [FileRef(name="state.json", sha256=state, size_bytes=11)]}
    channel = dataset(control, ["one", "two", "two"])
    wanted = attempt("agent_sleeper", {"steps": 5}, channels=[channel], checkpoint=checkpoint)
    waiting = agents.stand_by(wanted)
    (folder,) = _left(agents)
    assert sorted(path.name for path in (folder / "job").iterdir()) == ["input", "work"]
    assert [*(folder / "job" / "input").iterdir(), *(folder / "job" / "work").iterdir()] == []
    control.want(wanted)
    assert control.wait_ended(wanted.id) == Ended(outcome="completed")
    assert control.bodies(wanted.id, Started)[0].pid == waiting.pid
    lines = [line for logs in control.bodies(wanted.id, Logs) for line in logs.lines]
    assert lines == ["begins at step 3", "ends"]
    (result,) = control.bodies(wanted.id, ResultSaved)
    assert [Path(name).parts[1:3] for name in result.summary["inputs"]] == [("dataset", "blobs")] * 2 + [
        ("dataset", "manifest.parquet")
    ]
    assert control.reports[wanted.id, 1][-1].elapsed_seconds < 20
    assert _gone(waiting)
    assert _left(agents) == []


def test_a_dataset_comes_back_for_the_next_job(control: ControlServer, agents: Agents) -> None:
    agents.start()
    channel = dataset(control, ["one", "two"])
    first = attempt("agent_sleeper", {"steps": 1}, channels=[channel])
    agents.stand_by(first)
    control.want(first)
    assert control.wait_ended(first.id).outcome == "completed"
    (kept,) = (agents.folder / "cache" / "datasets").iterdir()
    inode = kept.stat().st_ino
    control.wanted.clear()
    control.blobs.clear()
    second = attempt("agent_sleeper", {"steps": 1}, channels=[channel])
    agents.stand_by(second)
    control.want(second)
    assert control.wait_ended(second.id).outcome == "completed"
    (kept,) = (agents.folder / "cache" / "datasets").iterdir()
    assert kept.stat().st_ino == inode
    assert {path.stat().st_uid for path in kept.rglob("*")} == {os.geteuid()}


def test_it_serves_one_job(control: ControlServer, agents: Agents) -> None:
    agents.start()
    users, processes = [], []
    for _ in range(2):
        wanted = attempt("agent_probe", {"tries": [("user", "")]})
        processes.append(agents.stand_by(wanted))
        users.append(processes[-1].uids().real)
        control.want(wanted)
        assert control.wait_ended(wanted.id).outcome == "completed"
        assert control.bodies(wanted.id, Started)[0].pid == processes[-1].pid
        control.wanted.clear()
    assert all(_gone(process) for process in processes)
    assert len(set(users)) == (2 if os.geteuid() == 0 else 1)


def test_other_limits_are_not_its(control: ControlServer, agents: Agents) -> None:
    agents.start()
    waiting = agents.stand_by(attempt("agent_sleeper", {"steps": 1}))
    other = attempt("agent_sleeper", {"steps": 1}, memory_limit_bytes=300 << 20)
    control.want(other)
    assert control.wait_ended(other.id).outcome == "completed"
    assert control.bodies(other.id, Started)[0].pid != waiting.pid
    control.wait(lambda: _gone(waiting) and _left(agents) == [])


def test_killed_while_it_waits_it_leaves_nothing(control: ControlServer, agents: Agents) -> None:
    agents.start()
    wanted = attempt("agent_sleeper", {"steps": 1})
    waiting = agents.stand_by(wanted)
    groups = _groups(agents)
    waiting.kill()
    control.wait(lambda: _left(agents) == [])
    assert not any(group.exists() for group in groups)
    control.want(wanted)
    assert control.wait_ended(wanted.id).outcome == "completed"


def test_killed_with_its_agent_it_leaves_nothing(control: ControlServer, agents: Agents) -> None:
    first = agents.start()
    waiting = agents.stand_by(attempt("agent_sleeper"))
    groups = _groups(agents)
    control.standby = None
    first.kill()
    control.wait(lambda: _gone(waiting))
    assert len(_left(agents)) == 1
    agents.start()
    control.wait(lambda: len(control.hellos) == 2)
    assert _left(agents) == []
    assert not any(group.exists() for group in groups)


@pytest.mark.parametrize("how", ["not wanted", "drained", "over"])
def test_retired_it_leaves_nothing(control: ControlServer, agents: Agents, how: str) -> None:
    agent = agents.start()
    waiting = agents.stand_by(attempt("agent_sleeper"))
    groups = _groups(agents)
    control.standby = None
    if how == "drained":
        assert agent.stop() == 0
    elif how == "over":
        control.known = False
        assert agent.process.wait(20) == 0
    control.wait(lambda: _gone(waiting) and _left(agents) == [])
    assert not any(group.exists() for group in groups)


def test_a_stop_that_comes_while_it_loads_is_answered_by_the_job(control: ControlServer, agents: Agents) -> None:
    agents.start()
    wanted = attempt("agent_sleeper", {"steps": 2000})
    waiting = agents.stand_by(wanted)
    waiting.send_signal(signal.SIGTERM)  # before any job is known
    time.sleep(0.2)
    assert waiting.is_running()
    control.want(wanted)
    control.wait(lambda: control.bodies(wanted.id, Ended))
    assert control.bodies(wanted.id, CheckpointSaved)
    assert control.bodies(wanted.id, Progress)[0].step == 1
