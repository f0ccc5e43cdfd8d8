"""What comes from a job process is hostile: it is understood or refused, never passed on raw."""

import msgspec
import pytest

from backend.core.wire import Failure, Metrics, MetricSeries, Progress
from tests.agent.test_outcome import end
from worker.agent.messages import LINE_BYTES, TRUNCATED, Lines, decode_message
from worker.agent.outcome import judge

pytestmark = pytest.mark.unit


def _series(values: str) -> bytes:
    return (
        b'{"type":"metrics","series":[{"name":"loss","steps":[1,2],"values":%s,"times":[1.0,2.0]}]}' % values.encode()
    )


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert decode_message(_series("[null,0.5]")) == Metrics(
        series=[MetricSeries(name="loss", steps=[2], values=[0.5], times=[2.0])]
    )


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b'{"type":"started","pid":1}',
        _series("[1.0]"),
        b'{"type":"progress","step":99999999999,"total_steps":0,"phase":""}',
        b'{"type":"progress","step":-1,"total_steps":0,"phase":""}',
        b'{"type":"checkpoint_written","step":-1,"folder":"x"}',
        b'{"type":"result_written","folder":"x","summary":{"a":"\\u0000"}}',
    ],
)
def test_what_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_message(line)


def test_a_phase_is_cleaned_and_cut() -> None:
    message = decode_message(b'{"type":"progress","step":1,"total_steps":2,"phase":"\\u0000%s"}' % (b"x" * 500))
    assert isinstance(message, Progress)
    assert message.phase.startswith("\ufffdx")
    assert len(message.phase) == 200


def test_lines_over_any_cut_of_the_bytes() -> None:
    found: list[str] = []
    lines = Lines(found.append)
    for byte in "one\r\ntwø\n\nlast".encode():
        lines.feed(bytes([byte]))
    lines.end_line(only_partial=True)
    assert found == ["one", "twø", "", "last"]


def test_a_long_line_is_cut() -> None:
    found: list[str] = []
    lines = Lines(found.append)
    for _ in range(40):
        lines.feed(b"x" * 1000)
    lines.feed(b"\nnext\n")
    assert found == ["x" * LINE_BYTES + TRUNCATED, "next"]


def test_a_failure_told_with_nonsense_is_cleaned() -> None:
    told = Failure(failure_class="interruption", reason="a\x00b", hint="\x00" * 9000, peak_memory_bytes=-5)
    failure = judge(end(exit_code=65, told=told)).failure
    assert failure is not None
    assert (failure.failure_class, failure.reason, failure.peak_memory_bytes) == ("user_code", "a\ufffdb", None)
    assert len(failure.hint or "") == 2000
