"""The API's pulse: since when could agents reach an API without a gap? Heartbeat age counts only that time (★7).

One row, beaten every two seconds by each API process. A beat after a gap of more than ten seconds starts the
time anew, so after an outage everybody has a full grace period before anything is declared lost.
"""

import threading
from datetime import timedelta

import structlog
from sqlalchemy import case, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.core.db import Database
from backend.core.settings import API_GAP_SECONDS
from backend.fleet.models import ApiUptime

log = structlog.get_logger(__name__)

BEAT_SECONDS = 2.0
GAP = timedelta(seconds=API_GAP_SECONDS)


def beat(session: Session) -> None:
    """Write one beat: a single statement, so that processes cannot undo each other's."""
    now = func.clock_timestamp()
    first = insert(ApiUptime).values(id=1, up_since=now, beat_at=now)
    session.execute(
        first.on_conflict_do_update(
            index_elements=[ApiUptime.id],
            set_={
                "up_since": case((ApiUptime.beat_at < now - GAP, now), else_=ApiUptime.up_since),
                "beat_at": func.greatest(ApiUptime.beat_at, now),
            },
        )
    )


class Pulse:
    """A thread that beats until stopped. A database that is down is logged once per outage."""

    def __init__(self, database: Database, *, seconds: float = BEAT_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="api-uptime", daemon=True)

    def start(self) -> None:
        """Beat once, now, and go on in the background."""
        with self._database.unit_of_work() as session:
            beat(session)
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; returns when the thread is gone."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        failing = False
        while not self._stopping.wait(self._seconds):
            try:
                with self._database.unit_of_work() as session:
                    beat(session)
                failing = False
            except SQLAlchemyError as error:
                if not failing:
                    log.warning("uptime_beat_failed", error=str(error)[:300])
                failing = True
