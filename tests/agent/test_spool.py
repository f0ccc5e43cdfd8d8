"""The spool keeps numbers without gaps, over restarts, torn lines and acknowledgements."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backend.core.wire import Logs, Progress, Report
from tests.fixtures.limits import files_end_at
from worker.agent import spool as spool_module
from worker.agent.reporter import LOG_BURST_BYTES, Reporter
from worker.agent.spool import Spool

pytestmark = pytest.mark.unit


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Spool]]:
    """Opens the spool, as often as the test restarts the agent."""
    with contextlib.ExitStack() as stack:

        def make() -> Spool:
            return stack.enter_context(contextlib.closing(Spool(tmp_path, "a", 1)))

        yield make


def _say(spool: Spool, count: int) -> None:
    for number in range(count):
        spool.append(float(number), Logs(lines=[f"line {number}"], times=[0.0]))


def _seqs(spool: Spool, max_reports: int = 1000, max_bytes: int = 1 << 20) -> list[int]:
    return [msgspec.json.decode(line, type=Report).seq for line in spool.batch(max_reports, max_bytes)]


def test_numbers_go_on_after_a_restart(opened: Callable[[], Spool]) -> None:
    first = opened()
    _say(first, 3)
    first.acknowledge(2)
    assert _seqs(first) == [3]
    first.close()
    second = opened()
    _say(second, 1)
    assert _seqs(second) == [1, 2, 3, 4]
    second.acknowledge(3)
    assert (_seqs(second), second.pending, second.next_seq) == ([4], 1, 5)


def test_a_torn_last_line_is_cut_off(opened: Callable[[], Spool], tmp_path: Path) -> None:
    first = opened()
    _say(first, 2)
    first.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    second = opened()
    _say(second, 1)
    assert _seqs(second) == [1, 2]
    last = second.last()
    assert last is not None
    assert last.elapsed_seconds == 0.0


def test_batches_are_bounded_but_never_empty(opened: Callable[[], Spool]) -> None:
    spool = opened()
    _say(spool, 10)
    assert _seqs(spool, max_reports=4) == [1, 2, 3, 4]
    assert _seqs(spool, max_bytes=1) == [1]
    size = len(spool.batch(1, 1)[0]) + 1
    assert _seqs(spool, max_bytes=3 * size) == [1, 2, 3]


def test_acknowledged_segments_go(opened: Callable[[], Spool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 500)
    spool = opened()
    _say(spool, 50)
    segments = len(list(tmp_path.iterdir()))
    assert segments > 5
    assert _seqs(spool) == list(range(1, 51))
    spool.acknowledge(30)
    assert len(list(tmp_path.iterdir())) < segments
    assert _seqs(spool) == list(range(31, 51))
    spool.acknowledge(1000)
    assert (spool.pending, spool.accepted, _seqs(spool)) == (0, 50, [])
    spool.close()
    again = opened()
    assert again.next_seq == 51


def test_a_flood_is_counted_in_bytes_and_lines(opened: Callable[[], Spool]) -> None:
    spool = opened()
    rung: list[None] = []
    reporter = Reporter(spool, lambda: 1.0, lambda: rung.append(None))
    for _ in range(40):
        reporter.line("x" * (64 << 10))
    reporter.tell(Logs(lines=["end"], times=[0.0]))
    bodies = [msgspec.json.decode(line, type=Report).body for line in spool.batch(1000, 1 << 30)]
    lines = [line for body in bodies if isinstance(body, Logs) for line in body.lines]
    assert LOG_BURST_BYTES * 0.9 < sum(map(len, lines)) < LOG_BURST_BYTES * 1.2
    assert "lines" in lines[-2]
    assert "of output dropped" in lines[-2]
    assert lines[-1] == "end"
    assert len(rung) == len(bodies)


def test_reports_that_find_no_room_wait_in_order_and_none_is_lost(opened: Callable[[], Spool], tmp_path: Path) -> None:
    spool = opened()
    _say(spool, 2)
    (path,) = tmp_path.iterdir()
    with files_end_at(path.stat().st_size + 20):
        _say(spool, 3)
        assert _seqs(spool) == [1, 2], "what is not on disk is not sent"
        assert (spool.pending, spool.next_seq) == (5, 6)
        assert path.read_bytes().endswith(b"\n"), "no half line is left"
        spool.acknowledge(5)
        assert spool.accepted == 2
    assert _seqs(spool) == [3, 4, 5]
    spool.close()
    again = opened()
    assert _seqs(again) == [1, 2, 3, 4, 5]
    assert again.next_seq == 6


def test_a_new_segment_that_finds_no_room_is_begun_later(
    opened: Callable[[], Spool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 100)
    spool = opened()
    _say(spool, 2)
    with files_end_at(10):
        _say(spool, 2)
    _say(spool, 1)
    assert _seqs(spool) == [1, 2, 3, 4, 5]
    assert len(list(tmp_path.iterdir())) > 1


def test_the_first_progress_and_the_first_step_are_told_at_once(opened: Callable[[], Spool]) -> None:
    spool = opened()
    reporter = Reporter(spool, lambda: 1.0, lambda: None)
    for step in (0, 0, 1, 2, 3):
        reporter.progress(Progress(step=step, total_steps=9, phase="x"))
    told = [msgspec.json.decode(line, type=Report).body for line in spool.batch(10, 1 << 20)]
    assert [body.step for body in told if isinstance(body, Progress)] == [0, 1]
