"""Working through leased rows: one that fails stops no other, and is looked at again soon, not when its lease ends.

A step may raise for reasons that pass (a deadlock that Postgres broke, a broker that is down) or that stay (a row
nobody foresaw). Both are logged with the row; the lease is given back, so that the first costs seconds.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog

from backend.core import queue
from backend.core.clock import database_now
from backend.core.queue import Lease
from worker.context import ControlContext

log = structlog.get_logger(__name__)

RETRY_AFTER: Final = timedelta(seconds=5)


def work_through(
    context: ControlContext, model: type[Any], leases: Sequence[Lease], act: Callable[[ControlContext, Lease], object]
) -> int:
    """Call `act` for each lease on a row of `model`; returns how many there were. Never raises what `act` raises."""
    for lease in leases:
        try:
            act(context, lease)
        except Exception:
            log.exception("step_failed", row=str(lease.row_id), table=model.__tablename__)
            _give_back(context, model, lease)
    return len(leases)


def _give_back(context: ControlContext, model: type[Any], lease: Lease) -> None:
    try:
        with context.database.unit_of_work() as session:
            queue.release(session, model, lease, due_at=database_now(session) + RETRY_AFTER)
    except Exception:
        # The database is gone: the lease expires by itself.
        log.exception("lease_not_given_back", row=str(lease.row_id), table=model.__tablename__)
