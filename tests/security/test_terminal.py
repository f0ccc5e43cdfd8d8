"""What a job printed, read by a person in a terminal."""

import pytest

from backend.commands.jobs import _text_line
from modelyard.types import LogLine

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_jobs_log_steers_no_terminal(timestamps: bool) -> None:  # noqa: FBT001 - parametrized
    line = LogLine(attempt=1, time=0.0, text="epoch\t1 \x1b]0;owned\x07\x1b[2J\r\x9b31m loss 0.5")
    said = _text_line(line, timestamps=timestamps)
    assert said.replace("\t", "").isprintable()
    assert said.endswith("loss 0.5")
    assert "epoch\t1" in said
