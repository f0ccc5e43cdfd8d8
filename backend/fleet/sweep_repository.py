"""SQL of the sweep, across tenants. Unscoped on purpose: the controller asks which of many rows need nothing.

Each question says *undisturbed* only when a look at that one row would change nothing but when to look again.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from backend.core import queue
from backend.fleet import states
from backend.fleet.models import (
    Assignment,
    AssignmentHeartbeat,
    Hold,
    Instance,
    InstanceHeartbeat,
    Report,
)
from backend.fleet.repository import age_seconds


def undisturbed_assignments(session: Session, assignment_ids: Collection[UUID], lost_after: float) -> set[UUID]:
    """Open assignments that run as they should: no report waits, nobody is silent, no drain is to be passed on."""
    unapplied = exists().where(Report.assignment_id == Assignment.id, Report.applied_at.is_(None))
    # Inside: the age of a time that is absent would be counted from the API's start.
    spoken_of = age_seconds(func.coalesce(AssignmentHeartbeat.received_at, Assignment.created_at))
    return set(
        session.scalars(
            select(Assignment.id)
            .join(Instance, Instance.id == Assignment.instance_id)
            .join(InstanceHeartbeat, InstanceHeartbeat.instance_id == Instance.id)
            .outerjoin(AssignmentHeartbeat, AssignmentHeartbeat.assignment_id == Assignment.id)
            .where(
                Assignment.id.in_(assignment_ids),
                Assignment.ended_at.is_(None),
                Instance.status.not_in((states.TERMINATING, states.TERMINATED)),
                or_(Instance.drain_requested_at.is_(None), Assignment.desired != "run"),
                _heard(lost_after),
                spoken_of <= lost_after,
                ~unapplied,
            )
        )
    )


def _staying() -> ColumnElement[bool]:
    return and_(Instance.status == states.READY, Instance.drain_requested_at.is_(None))


def count_due_ready(session: Session, *, limit: int) -> int:
    """How many instances are due that are ready and shall stay; at most `limit` are counted."""
    due = select(Instance.id).where(Instance.due_at <= func.statement_timestamp(), _staying()).limit(limit)
    return session.scalar(select(func.count()).select_from(due.subquery())) or 0


def lock_due_ready(session: Session, *, limit: int) -> Sequence[UUID]:
    """Due instances that are ready and shall stay, locked."""
    return queue.lock_due(session, Instance, limit=limit, where=_staying())


def undisturbed_instances(
    session: Session, instance_ids: Collection[UUID], *, lost_after: float, slice_seconds: float, first_slice: float
) -> dict[UUID, tuple[str, str]]:
    """Instances whose agents speak, that do or are held for something, and of which no slice is due yet.

    By id: (provider, tag) of those locked by `lock_due_ready`. Whether their machines run is for the provider to say.
    """
    assigned = exists().where(Assignment.instance_id == Instance.id, Assignment.ended_at.is_(None))
    held = exists().where(
        Hold.instance_id == Instance.id, Hold.ended_at.is_(None), Hold.until_at > func.clock_timestamp()
    )
    rows = session.execute(
        select(Instance.id, Instance.provider, Instance.tag)
        .join(InstanceHeartbeat, InstanceHeartbeat.instance_id == Instance.id)
        .where(
            Instance.id.in_(instance_ids),
            _heard(lost_after),
            or_(assigned, held),
            ~_assignment_slice_due(slice_seconds, first_slice),
            ~_hold_slice_due(slice_seconds),
        )
    )
    return {row.id: (row.provider, row.tag) for row in rows}


def _heard(lost_after: float) -> ColumnElement[bool]:
    return age_seconds(InstanceHeartbeat.received_at) <= lost_after


def _assignment_slice_due(slice_seconds: float, first_slice: float) -> ColumnElement[bool]:
    """As `meter_assignment` decides."""
    least = case((Assignment.billed_until.is_(None), min(first_slice, slice_seconds)), else_=slice_seconds)
    billed = func.extract(
        "epoch", func.coalesce(Assignment.billed_until, Assignment.started_at) - Assignment.started_at
    )
    return exists().where(
        Assignment.instance_id == Instance.id,
        Assignment.ended_at.is_(None),
        Assignment.started_at.is_not(None),
        AssignmentHeartbeat.assignment_id == Assignment.id,
        AssignmentHeartbeat.elapsed_seconds - billed >= least,
    )


def _hold_slice_due(slice_seconds: float) -> ColumnElement[bool]:
    begun = func.coalesce(Hold.billed_until, Hold.started_at)
    until = func.least(InstanceHeartbeat.received_at, Hold.until_at)
    return exists().where(
        Hold.instance_id == Instance.id,
        Hold.ended_at.is_(None),
        until - begun >= timedelta(seconds=slice_seconds),
    )
