"""What the admin console reads of all organizations' bills. Role *operator*, which only reads; unscoped on purpose."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.orm import Session

from backend.billing.models import ChargeDay, SpendingHold, UsageRecord
from backend.billing.pricing_repository import unpriced_skus

__all__ = ["open_holds", "spend_by_day", "spend_by_organization", "unpriced_skus", "waiting_usage"]


def spend_by_organization(session: Session, from_at: datetime, to_at: datetime) -> dict[UUID, Decimal]:
    """Charges that start on the days (UTC) from `from_at` to `to_at`, both whole, by organization with one."""
    rows = session.execute(
        select(ChargeDay.organization_id, func.sum(ChargeDay.amount))
        .where(*_days(from_at, to_at))
        .group_by(ChargeDay.organization_id)
    )
    return {row[0]: row[1] for row in rows}


def spend_by_day(session: Session, from_at: datetime, to_at: datetime) -> Sequence[Row[UUID, date, Decimal]]:
    """(organization, day in UTC, amount) of the days from `from_at` to `to_at`, both whole."""
    return session.execute(
        select(ChargeDay.organization_id, ChargeDay.day, func.sum(ChargeDay.amount))
        .where(*_days(from_at, to_at))
        .group_by(ChargeDay.organization_id, ChargeDay.day)
    ).all()


def _days(from_at: datetime, to_at: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    first, last = (moment.astimezone(UTC).date() for moment in (from_at, to_at))
    return ChargeDay.day >= first, ChargeDay.day <= last


def open_holds(session: Session, organization_id: UUID | None = None) -> Sequence[SpendingHold]:
    """Open holds on spending of one organization, or of all, oldest first."""
    query = select(SpendingHold).where(SpendingHold.lifted_at.is_(None)).order_by(SpendingHold.placed_at)
    if organization_id is not None:
        query = query.where(SpendingHold.organization_id == organization_id)
    return session.scalars(query).all()


def waiting_usage(session: Session) -> tuple[int, datetime | None]:
    """How many usage records are not charged yet, and since when the oldest waits."""
    row = session.execute(
        select(func.count(), func.min(UsageRecord.created_at)).where(UsageRecord.rated_at.is_(None))
    ).one()
    return row[0], row[1]
