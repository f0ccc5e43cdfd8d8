"""The seconds of an assignment, as its folder counts them."""

import time
from pathlib import Path

import pytest

from worker.agent.control import AssignmentKey
from worker.agent.state import AssignmentFolder

pytestmark = pytest.mark.unit


def test_no_heartbeat_tells_more_seconds_than_the_last_report(tmp_path: Path) -> None:
    """Heartbeats go on while the last report is written, and what they tell is billed."""
    folder = AssignmentFolder.create(tmp_path, AssignmentKey(id="a", epoch=1), "attempt")
    folder.mark_started()
    time.sleep(0.01)
    before = folder.mark_heartbeat()
    folder.stop_counting()
    reported = folder.elapsed_seconds()
    time.sleep(0.01)
    assert 0.01 <= before <= reported
    assert folder.mark_heartbeat() == reported
    folder.mark_ended()
    assert folder.elapsed_seconds() == reported
    known = AssignmentFolder.load(folder.path)
    assert known is not None
    assert known.elapsed_seconds() == reported
