"""What the admin console reads of all organizations' machines. Role *operator*, which only reads; unscoped on purpose.

The operator may not read tokens' hashes, so columns are named one by one.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Row, and_, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import LateralFromClause

from backend.fleet import states
from backend.fleet.models import (
    ApiUptime,
    Assignment,
    Hold,
    Instance,
    InstanceHeartbeat,
    InstanceType,
    Quota,
    UtilisationChunk,
)

SILENT_SECONDS = 30
MEASURED_LATELY = timedelta(minutes=3)
"""The slowest agents measure once a minute."""


def open_instances(session: Session, *, organization_id: UUID | None, after: UUID | None, limit: int) -> Sequence[Row]:  # type: ignore[type-arg]  # columns are named where they are read
    """Instances that are not terminated, newest first, with what each does: assignment, use of it, hold, agent."""
    newest = _newest_use()
    query = (
        select(
            Instance.id,
            Instance.organization_id,
            Instance.instance_type,
            Instance.market,
            Instance.provider,
            Instance.status,
            Instance.status_reason,
            Instance.requested_at,
            Instance.ready_at,
            Instance.drain_requested_at,
            Instance.interruption_notice,
            Assignment.resource_kind,
            Assignment.resource_id,
            Assignment.resource_name,
            Assignment.started_at,
            Hold.reason.label("hold_reason"),
            Hold.until_at.label("hold_until"),
            InstanceHeartbeat.received_at.label("heard_at"),
            *(one for one in newest.c if one.key != "received_at"),
        )
        .outerjoin(Assignment, and_(Assignment.instance_id == Instance.id, Assignment.ended_at.is_(None)))
        .outerjoin(newest, newest.c.received_at > func.clock_timestamp() - MEASURED_LATELY)
        .outerjoin(Hold, and_(Hold.instance_id == Instance.id, Hold.ended_at.is_(None)))
        .outerjoin(InstanceHeartbeat, InstanceHeartbeat.instance_id == Instance.id)
        .where(Instance.status != states.TERMINATED)
        .order_by(Instance.id.desc())
        .limit(limit)
    )
    if organization_id is not None:
        query = query.where(Instance.organization_id == organization_id)
    if after is not None:
        query = query.where(Instance.id < after)
    return session.execute(query).all()


def _newest_use() -> LateralFromClause:
    """What an assignment used when it was last measured, unless that is long ago; one entry of an index each."""
    chunk = UtilisationChunk
    values = (chunk.cpu_cores, chunk.memory_bytes, chunk.gpu_share)
    return (
        select(
            *(each[func.array_upper(each, 1)].label(each.key) for each in values),
            chunk.cpu_count,
            chunk.memory_limit_bytes,
            chunk.received_at,
        )
        .where(chunk.assignment_id == Assignment.id)
        .order_by(chunk.epoch.desc(), chunk.seq.desc())
        .limit(1)
        .lateral("newest_use")
    )


def owner_of(session: Session, instance_id: UUID) -> tuple[UUID, str] | None:
    """(organization, status) of an instance; None = there is no such instance."""
    row = session.execute(
        select(Instance.organization_id, Instance.status).where(Instance.id == instance_id)
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def count_open(session: Session) -> Sequence[Row[UUID, str, int]]:
    """(organization, status, how many) of instances that are not terminated."""
    return session.execute(
        select(Instance.organization_id, Instance.status, func.count())
        .where(Instance.status != states.TERMINATED)
        .group_by(Instance.organization_id, Instance.status)
    ).all()


def instance_types(session: Session) -> Sequence[str]:
    """Names of all instance types."""
    return session.scalars(select(InstanceType.name).order_by(InstanceType.name)).all()


def count_at_price(session: Session, sku: str) -> tuple[int, int]:
    """(instances that are not terminated, organizations they are of) that run under a SKU."""
    row = session.execute(
        select(func.count(), func.count(func.distinct(Instance.organization_id))).where(
            Instance.status != states.TERMINATED,
            func.concat("instance:", Instance.instance_type, ":", Instance.market) == sku,
        )
    ).one()
    return row[0], row[1]


def quotas(session: Session, organization_ids: Sequence[UUID]) -> Sequence[Quota]:
    """Quotas of these organizations, by instance type; `*` first."""
    return session.scalars(
        select(Quota).where(Quota.organization_id.in_(organization_ids)).order_by(Quota.instance_type)
    ).all()


def agents_heard(session: Session) -> tuple[int, int, float | None]:
    """(instances that are ready, those silent for `SILENT_SECONDS`, seconds since the most silent one spoke)."""
    age = func.extract("epoch", func.clock_timestamp() - InstanceHeartbeat.received_at)
    row = session.execute(
        select(func.count(), func.count().filter(age > SILENT_SECONDS), func.max(age))
        .select_from(Instance)
        .outerjoin(InstanceHeartbeat, InstanceHeartbeat.instance_id == Instance.id)
        .where(Instance.status == states.READY)
    ).one()
    return row[0], row[1], None if row[2] is None else float(row[2])


def api_beat(session: Session) -> tuple[float, float] | None:
    """(seconds since an API process last beat, seconds that the API is up without a gap); None = it never beat."""
    now = func.clock_timestamp()
    row = session.execute(
        select(func.extract("epoch", now - ApiUptime.beat_at), func.extract("epoch", now - ApiUptime.up_since)).where(
            ApiUptime.id == 1
        )
    ).one_or_none()
    return None if row is None else (float(row[0]), float(row[1]))
