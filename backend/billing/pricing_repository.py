"""SQL of billing that spans tenants: prices, and the controller's claims. Unscoped on purpose.

Prices belong to the platform. `claim_unrated` and `organizations_with_budgets` need the controller role; the
app role would see its own tenant only.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, text
from sqlalchemy.orm import Session

from backend.billing.models import Budget, Charge, Price, SpendingHold, UsageRecord
from backend.billing.rating import PricePeriod

PRICES_LOCK = 0x70726963
"""Advisory lock: rating holds it shared, a price change alone."""


def lock_prices(session: Session, *, alone: bool) -> None:
    """Until the transaction ends no price changes under a rating, and no rating under a price change."""
    lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
    session.execute(select(lock(PRICES_LOCK)))


def claim_unrated(
    session: Session, *, limit: int, settled: Mapping[str, ColumnElement[bool]], settle_seconds: float
) -> Sequence[UsageRecord]:
    """Lock up to `limit` unrated records, oldest first, that have a price for all of their period.

    Records of a source kind in `settled` are left until its condition holds or they are `settle_seconds` old.
    Records another controller holds are skipped.
    """
    old = func.extract("epoch", func.clock_timestamp() - UsageRecord.created_at) >= settle_seconds
    ready = [or_(UsageRecord.source_kind != kind, old, condition) for kind, condition in settled.items()]
    return session.scalars(
        select(UsageRecord)
        .where(UsageRecord.rated_at.is_(None), is_priced(), *ready)
        .order_by(UsageRecord.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True, of=UsageRecord)
    ).all()


def is_priced() -> ColumnElement[bool]:
    """SQL: the prices of the record's SKU cover all of its period (a moment, when it is empty)."""
    bounds = case((UsageRecord.from_at == UsageRecord.to_at, literal("[]")), else_=literal("[)"))
    period = func.tstzrange(UsageRecord.from_at, UsageRecord.to_at, bounds)
    covered = func.range_agg(func.tstzrange(Price.effective_from, Price.effective_to, "[)")).op("@>")(period)
    return (
        select(literal(1))
        .where(Price.sku == UsageRecord.sku)
        .group_by(Price.sku)
        .having(covered)
        .correlate(UsageRecord)
        .exists()
    )


def unpriced_skus(session: Session) -> Sequence[str]:
    """SKUs with unrated usage that no price covers. The app role sees its own tenant's."""
    return session.scalars(
        select(UsageRecord.sku).where(UsageRecord.rated_at.is_(None), ~is_priced()).distinct().order_by(UsageRecord.sku)
    ).all()


def price_periods(
    session: Session, skus: Collection[str], from_at: datetime, to_at: datetime
) -> dict[str, list[PricePeriod]]:
    """Per SKU the prices in force at some moment of [from_at, to_at], oldest first."""
    rows = session.scalars(
        select(Price)
        .where(
            Price.sku.in_(skus),
            Price.effective_from <= to_at,
            or_(Price.effective_to.is_(None), Price.effective_to > from_at),
        )
        .order_by(Price.sku, Price.effective_from)
    )
    periods: dict[str, list[PricePeriod]] = {}
    for row in rows:
        periods.setdefault(row.sku, []).append(
            PricePeriod(row.id, row.unit, row.amount, row.effective_from, row.effective_to)
        )
    return periods


def prices(session: Session, *, at: datetime | None) -> Sequence[Price]:
    """All prices, or those in force at a moment, by SKU and start."""
    query = select(Price).order_by(Price.sku, Price.effective_from)
    if at is not None:
        in_force = or_(Price.effective_to.is_(None), Price.effective_to > at)
        query = query.where(and_(Price.effective_from <= at, in_force))
    return session.scalars(query).all()


def price_at(session: Session, sku: str, moment: datetime) -> Price | None:
    """The price of a SKU at a moment."""
    in_force = or_(Price.effective_to.is_(None), Price.effective_to > moment)
    return session.scalars(
        select(Price).where(Price.sku == sku, Price.effective_from <= moment, in_force)
    ).one_or_none()


def prices_of(session: Session, sku: str) -> Sequence[Price]:
    """Every price of one SKU, oldest first, locked."""
    return session.scalars(select(Price).where(Price.sku == sku).order_by(Price.effective_from).with_for_update()).all()


def charged_after(session: Session, sku: str, moment: datetime) -> bool:
    """Whether any charge of this SKU reaches beyond `moment` (controller: of any tenant)."""
    found = session.scalar(
        select(Charge.id)
        .where(Charge.sku == sku, Charge.to_at >= moment, or_(Charge.to_at > moment, Charge.from_at >= moment))
        .limit(1)
    )
    return found is not None


def charged_after_by_anyone(session: Session, sku: str, moment: datetime) -> bool:
    """The same for the app role, which sees its own tenant's charges only: an operator's session is presented."""
    return bool(session.scalar(select(func.operator_charged_after(sku, moment))))


def present_operator(session: Session, token: str) -> None:
    """Until the transaction ends, let Postgres know whose session asks: it lets an operator's write prices."""
    session.execute(select(func.set_config("app.operator_session", token, True)))  # noqa: FBT003 - SQL's own argument


def add_price(session: Session, price: Price) -> None:
    """Insert a price after the one before it was closed."""
    session.flush()
    session.add(price)
    session.flush()


def organizations_with_budgets(session: Session) -> list[UUID]:
    """Organizations whose budgets, or holds placed by one, must be looked at."""
    held = select(SpendingHold.organization_id).where(
        SpendingHold.lifted_at.is_(None), SpendingHold.budget_id.is_not(None)
    )
    return list(session.scalars(select(Budget.organization_id).union(held).order_by(text("1"))))
