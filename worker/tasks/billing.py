"""Control task of billing: rate what is unrated, then look at budgets.

Rating claims rows by lock (SKIP LOCKED) within one short transaction: it does nothing outside the database, so it
needs no lease. Two workers rate different records; one that dies rolls back.
"""

import time
from uuid import UUID

import structlog

from backend.billing import service
from backend.core.db import Scope, act_as
from worker.app import controls
from worker.context import ControlContext

log = structlog.get_logger(__name__)

BATCH = 500
MAX_BATCHES = 10
ALL_BUDGETS_SECONDS = 30.0


class _Rhythm:
    """When this process last looked at every budget: months turn, and budgets change, without new charges."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + ALL_BUDGETS_SECONDS
        return True


_rhythm = _Rhythm()


@controls.register("billing.control")
def control(context: ControlContext) -> int:
    """Rate up to 5,000 records; check the budgets of the tenants charged. Returns the records rated."""
    records = 0
    organizations: set[UUID] = set()
    for _ in range(MAX_BATCHES):
        with context.database.unit_of_work() as session:
            rated = service.rate(session, BATCH)
        records += rated.records
        organizations |= rated.organizations
        if rated.records < BATCH:
            break
    every = _rhythm.due()
    if records or every:
        _check(context, None if every else organizations)
    return records


def _check(context: ControlContext, only: set[UUID] | None) -> None:
    with context.database.unit_of_work() as session:
        watched = service.organizations_with_budgets(session)
        unpriced = service.unpriced_skus(session) if only is None else []
    for sku in unpriced:
        log.warning("usage_without_price", sku=sku, fix="set a price that covers the period: it is charged then")
    for organization_id in watched:
        if only is None or organization_id in only:
            with context.database.unit_of_work() as session:
                act_as(session, organization_id)
                service.check_budgets(session, Scope(organization_id))
