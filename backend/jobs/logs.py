"""Reading a job's log: chunks by number from object storage, a page or the tail."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectMissing, ObjectStore
from backend.core.wire import Logs
from backend.jobs.models import LogChunk
from backend.jobs.repository import JobRepository

CHUNKS_PER_PAGE = 50


@dataclass(frozen=True)
class LogLine:
    """One line: the attempt it came from, Unix seconds, text."""

    attempt: int
    time: float
    text: str


@dataclass(frozen=True)
class LogKeys:
    """Where the lines of a page lie. `last` is the cursor for the next page; None = nothing new."""

    chunks: tuple[tuple[int, str], ...]
    last: UUID | None
    more: bool


def log_page(session: Session, scope: Scope, job_id: UUID, *, after: UUID | None) -> LogKeys:
    """The chunks after `after`, oldest first."""
    rows = JobRepository(session, scope).log_chunks(job_id, after=after, limit=CHUNKS_PER_PAGE + 1)
    return _keys(rows[:CHUNKS_PER_PAGE], more=len(rows) > CHUNKS_PER_PAGE)


def log_tail(session: Session, scope: Scope, job_id: UUID, *, chunks: int = 5, lines: int | None = None) -> LogKeys:
    """The newest chunks, oldest first; no more of them than it takes to have so many `lines`."""
    rows = list(JobRepository(session, scope).last_log_chunks(job_id, limit=chunks))
    if lines is not None:
        reached = list(accumulate(row.line_count for row in reversed(rows)))
        rows = rows[-(1 + sum(count < lines for count in reached)) :]
    return _keys(rows, more=False)


def _keys(rows: Sequence[LogChunk], *, more: bool) -> LogKeys:
    chunks = tuple((row.attempt_number, row.storage_key) for row in rows)
    return LogKeys(chunks, rows[-1].id if rows else None, more)


def read_lines(storage: ObjectStore, keys: LogKeys) -> list[LogLine]:
    """Fetch the lines; to be called with no session open. A chunk that is gone is skipped with a note."""
    lines: list[LogLine] = []
    for attempt, key in keys.chunks:
        try:
            chunk = msgspec.json.decode(storage.get(key), type=Logs)
        except ObjectMissing:
            lines.append(LogLine(attempt, 0.0, "[lines missing from storage]"))
            continue
        lines.extend(LogLine(attempt, time, text) for time, text in zip(chunk.times, chunk.lines, strict=True))
    return lines
