"""What an agent does while others fail: the control plane, the agent before it, its own instance."""

import time

import pytest

from backend.core.wire import CheckpointRef, CheckpointSaved, Ended, FileRef, Logs, Progress, Started
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer

pytestmark = pytest.mark.integration


def _numbers(control: ControlServer, assignment_id: str, epoch: int = 1) -> list[int]:
    return [report.seq for report in control.reports[assignment_id, epoch]]


def test_a_job_goes_on_without_the_control_plane(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 40})
    control.want(wanted)
    agents.start()
    control.wait(lambda: control.bodies(wanted.id, Progress))
    control.stop()
    heard = len(control.reports[wanted.id, 1])
    time.sleep(3)
    assert len(control.reports[wanted.id, 1]) == heard
    control.start()
    assert control.wait_ended(wanted.id).outcome == "completed"
    assert _numbers(control, wanted.id) == list(range(1, len(control.reports[wanted.id, 1]) + 1))
    assert len(control.bodies(wanted.id, Started)) == 1


def test_an_agent_that_waits_for_the_control_plane(control: ControlServer, agents: Agents) -> None:
    control.stop()
    wanted = attempt("agent_sleeper", {"steps": 1})
    control.want(wanted)
    agents.start()
    time.sleep(1)
    control.start()
    assert control.wait_ended(wanted.id).outcome == "completed"


def test_stop_saves_a_checkpoint_and_the_next_epoch_resumes(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 45})
    control.want(wanted)
    agents.start()
    control.wait(lambda: control.bodies(wanted.id, Progress))
    control.ask_to_stop(wanted.id)
    assert control.wait_ended(wanted.id) == Ended(outcome="stopped")
    saved = control.bodies(wanted.id, CheckpointSaved)[-1]
    assert 0 < saved.step < 45
    again = attempt(
        "agent_sleeper",
        {"steps": saved.step + 2},
        id=wanted.id,
        epoch=2,
        checkpoint=CheckpointRef(step=saved.step, files=saved.files),
    )
    control.want(again)
    assert control.wait_ended(wanted.id, epoch=2).outcome == "completed"
    lines = [line for logs in control.bodies(wanted.id, Logs, epoch=2) for line in logs.lines]
    assert lines[0] == f"begins at step {saved.step}"
    assert _numbers(control, wanted.id, 2)[0] == 1


def test_a_killed_agent_leaves_an_interruption(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 2000})
    control.want(wanted)
    first = agents.start()
    control.wait(lambda: control.bodies(wanted.id, CheckpointSaved))
    running = control.running[0].elapsed_seconds
    first.kill()
    agents.start()
    ended = control.wait_ended(wanted.id)
    assert ended.outcome == "failed"
    assert ended.failure is not None
    assert ended.failure.failure_class == "interruption"
    assert ended.failure.reason == "The agent restarted."
    last = control.reports[wanted.id, 1][-1]
    assert running <= last.elapsed_seconds < running + 3
    time.sleep(1)  # still listed, never run again
    assert len(control.bodies(wanted.id, Started)) == 1
    assert control.running == []
    folder = agents.folder / "assignments" / f"{wanted.id}-1"
    assert [path.name for path in folder.iterdir()] == ["state.json"]
    del control.wanted[wanted.id]
    control.wait(lambda: not folder.exists())


def test_a_stale_epoch_is_killed_without_a_word(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 2000})
    control.want(wanted)
    agents.start()
    control.wait(lambda: control.bodies(wanted.id, Progress))
    newer = attempt("agent_sleeper", {"steps": 2}, id=wanted.id, epoch=2)
    control.want(newer)
    assert control.wait_ended(wanted.id, epoch=2).outcome == "completed"
    assert control.bodies(wanted.id, Ended) == []
    control.wait(lambda: not (agents.folder / "assignments" / f"{wanted.id}-1").exists())


def test_an_instance_that_is_over_ends_its_agent(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 2000})
    control.want(wanted)
    agent = agents.start()
    control.wait(lambda: control.bodies(wanted.id, Started))
    control.known = False
    assert agent.process.wait(timeout=20) == 0
    assert "this instance is over" in agent.log.read_text()


def test_drain_by_signal_delivers_the_last_reports(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 2000})
    control.want(wanted)
    agent = agents.start()
    control.wait(lambda: control.bodies(wanted.id, Progress))
    assert agent.stop() == 0
    (ended,) = control.bodies(wanted.id, Ended)
    assert ended.outcome == "stopped"
    assert ended.failure is not None
    assert ended.failure.failure_class == "interruption"
    assert control.bodies(wanted.id, CheckpointSaved)
    assert control.notices


def test_a_second_agent_on_the_folder_is_refused(control: ControlServer, agents: Agents) -> None:
    agents.start()
    control.wait(lambda: control.hellos)
    second = agents.start()
    assert second.process.wait(timeout=20) == 2
    assert "another agent holds" in second.log.read_text()


def test_stopped_before_it_began(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 2000})
    control.want(wanted)
    control.ask_to_stop(wanted.id)
    agents.start()
    assert control.wait_ended(wanted.id) == Ended(outcome="stopped")
    assert control.bodies(wanted.id, Started) == []


def test_an_input_with_a_wrong_digest(control: ControlServer, agents: Agents) -> None:
    digest = control.add_blob(b"right")
    control.blobs[digest] = b"wrong"
    files = [FileRef(name="state.json", sha256=digest, size_bytes=5)]
    wanted = attempt("agent_sleeper", {"steps": 1}, checkpoint=CheckpointRef(step=1, files=files))
    control.want(wanted)
    agents.start()
    ended = control.wait_ended(wanted.id)
    assert ended.failure is not None
    assert ended.failure.failure_class == "platform"
    assert digest in ended.failure.reason
