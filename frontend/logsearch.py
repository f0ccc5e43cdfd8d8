"""Looking for words in the whole log of a job, chunk by chunk, however long it is."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from backend.core.auth import Principal
from backend.jobs import logs
from backend.jobs import service as jobs
from frontend.backstage import Backstage
from frontend.services import parse_id
from frontend.views import LogLine

MOST_LINES = 200
SECONDS = 3.0
"""After so long what was found is shown, with the place to go on from."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Lines that hold the words. `after` is where the search goes on; "" = the whole log was searched."""

    lines: list[LogLine]
    searched: int
    after: str


def search_log(back: Backstage, viewer: Principal, job_id: str, words: str, *, after: str) -> Found:
    """Lines that contain `words` in any case, oldest first. Raises JobNotFound, RouteNotFound, StorageUnavailable."""
    place: UUID | None = parse_id(after) if after else None
    wanted, lines, searched = words.casefold(), list[LogLine](), 0
    until = time.monotonic() + SECONDS
    with back.tenant(viewer) as session:
        job = jobs.get_job(session, viewer.scope, parse_id(job_id)).id
    more = True
    while more and len(lines) < MOST_LINES and time.monotonic() < until:
        with back.tenant(viewer) as session:
            keys = logs.log_page(session, viewer.scope, job, after=place)
        read = logs.read_lines(back.storage, keys)
        searched += len(read)
        lines += [_shown(line) for line in read if wanted in line.text.casefold()]
        place, more = keys.last or place, keys.more
    return Found(lines=lines, searched=searched, after=str(place) if more and place else "")


def _shown(line: logs.LogLine) -> LogLine:
    return LogLine(at=datetime.fromtimestamp(line.time, UTC) if line.time else None, text=line.text)
