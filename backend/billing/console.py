"""What the admin console reads of all organizations' bills. Role *operator*, which only reads; unscoped on purpose."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Date, Row, cast, func, select
from sqlalchemy.orm import Session

from backend.billing.models import Charge, SpendingHold, UsageRecord
from backend.billing.pricing_repository import unpriced_skus

__all__ = ["open_holds", "spend_by_day", "spend_by_organization", "unpriced_skus", "waiting_usage"]


def spend_by_organization(session: Session, from_at: datetime, to_at: datetime) -> dict[UUID, Decimal]:
    """Charges that start in [from_at, to_at), by organization; those without one are left out."""
    rows = session.execute(
        select(Charge.organization_id, func.sum(Charge.amount))
        .where(Charge.from_at >= from_at, Charge.from_at < to_at)
        .group_by(Charge.organization_id)
    )
    return {row[0]: row[1] for row in rows}


def spend_by_day(session: Session, from_at: datetime, to_at: datetime) -> Sequence[Row[UUID, date, Decimal]]:
    """(organization, day in UTC, amount) of charges that start in [from_at, to_at)."""
    day = cast(func.timezone("UTC", Charge.from_at), Date)
    return session.execute(
        select(Charge.organization_id, day, func.sum(Charge.amount))
        .where(Charge.from_at >= from_at, Charge.from_at < to_at)
        .group_by(Charge.organization_id, day)
    ).all()


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
