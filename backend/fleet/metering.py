"""The meter of an instance: contiguous slices of seconds, each belonging to one attempt, replica or hold (★8).

Billing of an assignment starts when its start report is accepted and runs on the agent's monotonic seconds
since then, never beyond Postgres's now. A slice is written when a minute has passed since the last, and at the end.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy.orm import Session

from backend.billing.service import record_usage
from backend.core.db import Scope
from backend.fleet.models import Assignment, Hold, Instance

FIRST_SLICE_SECONDS = 10.0
"""The first slice of an assignment comes early, so that whoever looks at the bill sees it run."""


def sku(instance: Instance) -> str:
    """What a second of this instance is sold as."""
    return sku_of(instance.instance_type, instance.market)


def sku_of(instance_type: str, market: str) -> str:
    """What a second of such an instance is sold as."""
    return f"instance:{instance_type}:{market}"


def whole_milliseconds(from_at: datetime, to_at: datetime) -> int:
    """Milliseconds that are over between the two; the rest goes to the next slice."""
    return (to_at - from_at) // timedelta(milliseconds=1)


def meter_assignment(
    session: Session,
    scope: Scope,
    instance: Instance,
    assignment: Assignment,
    *,
    elapsed_seconds: float,
    now: datetime,
    at_least_seconds: float,
) -> None:
    """Write the slice since the last one, when it is `at_least_seconds` long. Expects the row locked.

    `now`: Postgres's, beyond which nothing is billed; for an assignment that is closed, the moment of its end.
    """
    if assignment.started_at is None:
        return
    if assignment.billed_until is None:
        at_least_seconds = min(at_least_seconds, FIRST_SLICE_SECONDS)
    from_at = assignment.billed_until or assignment.started_at
    # Bounded before it becomes a time: an agent may say any number.
    until_now = (now - assignment.started_at).total_seconds()
    to_at = assignment.started_at + timedelta(seconds=min(max(elapsed_seconds, 0.0), until_now))
    milliseconds = whole_milliseconds(from_at, to_at)
    if milliseconds <= 0 or milliseconds < at_least_seconds * 1000:
        return
    to_at = from_at + timedelta(milliseconds=milliseconds)
    record_usage(
        session,
        scope,
        project_id=assignment.project_id,
        source_kind=assignment.subject_kind,
        source_id=assignment.subject_id,
        resource_kind=assignment.resource_kind,
        resource_id=assignment.resource_id,
        resource_name=assignment.resource_name,
        sku=sku(instance),
        quantity=Decimal(milliseconds) / 1000,
        from_at=from_at,
        to_at=to_at,
        detail={"instance_id": str(instance.id), "assignment_id": str(assignment.id)},
    )
    assignment.billed_until = to_at


def meter_hold(
    session: Session, scope: Scope, instance: Instance, hold: Hold, *, to_at: datetime, at_least_seconds: float
) -> None:
    """Write the slice of a hold up to `to_at`. Expects the row locked."""
    from_at = hold.billed_until or hold.started_at
    milliseconds = whole_milliseconds(from_at, to_at)
    if milliseconds <= 0 or milliseconds < at_least_seconds * 1000:
        return
    to_at = from_at + timedelta(milliseconds=milliseconds)
    record_usage(
        session,
        scope,
        project_id=hold.project_id,
        source_kind="hold",
        source_id=hold.id,
        resource_kind="instance",
        resource_id=instance.id,
        resource_name=f"{instance.instance_type} ({hold.reason})",
        sku=sku(instance),
        quantity=Decimal(milliseconds) / 1000,
        from_at=from_at,
        to_at=to_at,
        detail={"instance_id": str(instance.id)},
    )
    hold.billed_until = to_at
