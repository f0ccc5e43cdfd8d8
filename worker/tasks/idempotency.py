"""Control task of idempotency keys: kept answers whose time is over are deleted, some thousands an hour."""

from typing import Final

from backend.core.idempotency import purge_expired
from worker.app import controls
from worker.context import ControlContext

EVERY_SECONDS: Final = 3600.0
BATCH: Final = 1000
MAX_BATCHES: Final = 20


@controls.register("idempotency.purge", every_seconds=EVERY_SECONDS)
def purge(context: ControlContext) -> int:
    """Delete what is over, in short transactions; returns how many."""
    gone = 0
    for _ in range(MAX_BATCHES):
        with context.database.unit_of_work() as session:
            batch = purge_expired(session, limit=BATCH)
        gone += batch
        if batch < BATCH:
            break
    return gone
