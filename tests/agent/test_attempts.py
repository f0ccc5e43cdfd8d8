"""An agent as a process, jobs in its sandbox, a control plane over HTTP."""

import msgspec
import pytest

from backend.core.wire import CheckpointSaved, Ended, Logs, Metrics, Progress, ResultSaved, Started
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer

pytestmark = pytest.mark.integration


def test_a_job_runs_to_its_result(control: ControlServer, agents: Agents) -> None:
    wanted = attempt("agent_sleeper", {"steps": 25})
    control.want(wanted)
    agents.start()
    ended = control.wait_ended(wanted.id)
    assert ended == Ended(outcome="completed")
    assert control.hellos[0].sandbox == "bubblewrap"
    reports = control.reports[wanted.id, 1]
    assert isinstance(reports[0].body, Started)
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    elapsed = [report.elapsed_seconds for report in reports]
    assert elapsed == sorted(elapsed)
    assert 1.25 <= elapsed[-1] < 10
    assert control.bodies(wanted.id, Progress)[-1] == Progress(step=25, total_steps=25, phase="sleeping")
    points = [v for m in control.bodies(wanted.id, Metrics) for s in m.series for v in s.values]
    assert points == [float(n) for n in range(1, 26)]
    assert len(control.bodies(wanted.id, Metrics)) <= 4
    lines = [line for logs in control.bodies(wanted.id, Logs) for line in logs.lines]
    assert lines == ["begins at step 0", "ends"]
    (result,) = control.bodies(wanted.id, ResultSaved)
    assert [file.name for file in result.files] == ["deep/model.bin"]
    assert control.blobs[result.files[0].sha256] == b"model" * 1000
    checkpoints = control.bodies(wanted.id, CheckpointSaved)
    assert checkpoints[-1].step == 20
    assert msgspec.json.decode(control.blobs[checkpoints[-1].files[0].sha256]) == {"step": 20}
