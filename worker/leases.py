"""Working through leased rows: one that fails stops no other, and is looked at again soon, not when its lease ends.

A step may raise for reasons that pass (a deadlock that Postgres broke, a broker that is down) or that stay (a row
nobody foresaw). Both are logged with the row; the lease is given back, so that the first costs seconds.

Rows of one tenant may be moved in one transaction. When such a group raises, nothing of it was recorded, and its rows
are moved one by one: so the one at fault is found and the others go on.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog

from backend.core import queue
from backend.core.clock import database_now
from backend.core.queue import Lease
from worker.context import ControlContext

log = structlog.get_logger(__name__)

RETRY_AFTER: Final = timedelta(seconds=5)
GROUP: Final = 100
"""Rows moved in one transaction at most: agents that report on them wait until it ends."""
PASS_SECONDS: Final = 5.0
"""So long a control goes on while there is more to do; others want their turn."""

ActOnGroup = Callable[[ControlContext, UUID, Sequence[Lease]], object]
"""Moves leased rows of one organization (its id is given) in one transaction."""


def until_done(batch: Callable[[], bool], *, seconds: float = PASS_SECONDS) -> None:
    """Call `batch` until it says that there is no more, or the time is over."""
    until = time.monotonic() + seconds
    while batch() and time.monotonic() < until:
        pass


def pass_over(look: Callable[[], tuple[int, int]], *, size: int) -> int:
    """Call `look` until it has seen every due row; returns how many needed nothing.

    `look` looks at up to `size` rows and says (how many they were, how many need a step). Those that need one stay at
    the head of the queue: when they fill half of it, it is their turn.
    """
    passed = 0
    while True:
        looked, left = look()
        passed += looked - left
        if looked < size or left > size // 2:
            return passed


def work_in_groups(context: ControlContext, model: type[Any], leases: Sequence[Lease], act: ActOnGroup) -> int:
    """Call `act` for the leases of each organization; returns how many there were. Never raises what `act` raises."""
    groups: dict[UUID, list[Lease]] = defaultdict(list)
    for lease in leases:
        groups[lease.organization_id].append(lease)
    for organization_id, mine in groups.items():
        for first in range(0, len(mine), GROUP):
            _act_on_group(context, model, organization_id, mine[first : first + GROUP], act)
    return len(leases)


def _act_on_group(
    context: ControlContext, model: type[Any], organization_id: UUID, leases: Sequence[Lease], act: ActOnGroup
) -> None:
    if len(leases) > 1:
        try:
            act(context, organization_id, leases)
        except Exception as error:  # noqa: BLE001 - whatever it was, each row gets its own try and its own log line
            log.warning("group_failed", table=model.__tablename__, rows=len(leases), error=str(error)[:300])
        else:
            return
    work_through(context, model, leases, partial(_alone, act=act))


def _alone(context: ControlContext, lease: Lease, *, act: ActOnGroup) -> object:
    return act(context, lease.organization_id, [lease])


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
