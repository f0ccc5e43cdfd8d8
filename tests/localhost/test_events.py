"""The provider's own record on a full disk: an event is there whole, or it did not happen."""

from pathlib import Path

import pytest

from tests.fixtures.limits import files_end_at
from worker.localhost.events import EventLog

pytestmark = pytest.mark.unit


def test_an_event_that_finds_no_room_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    log.append("requested", "a", shape="local.cpu")
    size = path.stat().st_size
    with files_end_at(size + 30), pytest.raises(OSError, match=r"No space left|File too large"):
        log.append("running", "a")
    assert path.stat().st_size == size
    log.append("running", "a")
    assert [event.event for event in log.replay()] == ["requested", "running"]
    log.close()
