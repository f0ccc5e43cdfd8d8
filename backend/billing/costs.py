"""What was charged: lists, sums, and invoices. Every sum is exact; only an invoice line is rounded, once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Date, cast, func
from sqlalchemy.orm import Session

from backend.billing import pricing_repository as pricing
from backend.billing.errors import MonthNotValid
from backend.billing.models import Charge, UsageRecord
from backend.billing.repository import ChargeRepository, DayRepository, Days, Filters, UsageRepository
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.pagination import PageRequest

MONTHS = 12


@dataclass(frozen=True)
class ResourceCost:
    """What one resource cost; `variant` is set where its usage was split."""

    project_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    amount: Decimal


@dataclass(frozen=True)
class SkuCost:
    """Quantity and cost of one SKU."""

    sku: str
    unit: str
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class ResourceCharge:
    """Quantity and cost of one SKU at one unit price, of one resource."""

    sku: str
    unit: str
    unit_price: Decimal
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class VariantCost:
    """Quantity and cost of one SKU for one variant; '' where the usage belongs to none."""

    variant: str
    sku: str
    unit: str
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class VariantDay:
    """What one day (UTC) of one variant cost; '' where the usage belongs to none."""

    day: date
    variant: str
    amount: Decimal


@dataclass(frozen=True)
class ProjectCost:
    """What one project cost."""

    project_id: UUID
    amount: Decimal


@dataclass(frozen=True)
class DayCost:
    """What one day (UTC) cost."""

    day: date
    amount: Decimal


@dataclass(frozen=True)
class UnratedUsage:
    """Usage that is not charged yet: it waits for its turn, or for a price."""

    sku: str
    records: int
    quantity: Decimal
    since: datetime
    has_price: bool


@dataclass(frozen=True)
class CostSummary:
    """Charges that start in [from_at, to_at), and the usage still without a charge."""

    from_at: datetime
    to_at: datetime
    total: Decimal
    by_resource: list[ResourceCost]
    by_sku: list[SkuCost]
    by_project: list[ProjectCost]
    by_day: list[DayCost]
    unrated: list[UnratedUsage]


@dataclass(frozen=True)
class InvoiceLine:
    """One line: everything of one resource, variant, SKU and unit price. `rounded` is to cents, half-even."""

    project_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    variant: str
    sku: str
    unit: str
    unit_price: Decimal
    quantity: Decimal
    amount: Decimal
    rounded: Decimal


@dataclass(frozen=True)
class Invoice:
    """A month of charges. `total` is the sum of the rounded lines, `exact_total` of the exact ones: of all lines."""

    month: str
    from_at: datetime
    to_at: datetime
    closed: bool
    lines: list[InvoiceLine]
    line_count: int
    exact_total: Decimal
    total: Decimal
    unrated: list[UnratedUsage]


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """[start, end) of `yyyy-mm` in UTC. Raises MonthNotValid."""
    try:
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        end = next_month(start)
    except ValueError as error:
        raise MonthNotValid(f"a month is written yyyy-mm, such as 2026-03, not {month!r}") from error
    return start, end


def next_month(start: datetime) -> datetime:
    """The first moment of the month after the one that starts at `start`."""
    years, month = divmod(start.month, MONTHS)
    return start.replace(year=start.year + years, month=month + 1)


def month_start(moment: datetime) -> datetime:
    """The first moment of the month (UTC) of `moment`."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def list_charges(
    session: Session, scope: Scope, filters: Filters, page: PageRequest
) -> tuple[list[Charge], str | None]:
    """Charges, newest first, and the cursor of the next page."""
    return ChargeRepository(session, scope).page(filters, page)


def list_usage(
    session: Session, scope: Scope, filters: Filters, page: PageRequest
) -> tuple[list[UsageRecord], str | None]:
    """Usage records, newest first, and the cursor of the next page."""
    return UsageRepository(session, scope).page(filters, page)


def summarize_costs(session: Session, scope: Scope, filters: Filters) -> CostSummary:
    """Sums of the period; without one, of the month up to now (Postgres's clock)."""
    now = database_now(session)
    filters = replace(filters, from_at=filters.from_at or month_start(now), to_at=filters.to_at or now)
    charges = ChargeRepository(session, scope)
    day = cast(func.timezone("UTC", Charge.from_at), Date)
    resource = (Charge.project_id, Charge.resource_kind, Charge.resource_id)
    assert filters.from_at is not None  # noqa: S101 - set above
    assert filters.to_at is not None  # noqa: S101 - set above
    by_resource = [
        ResourceCost(project, kind, id_, name, amount)
        for project, kind, id_, name, _, amount in charges.sums(filters, *resource, Charge.resource_name)
    ]
    by_project = [ProjectCost(project, amount) for project, _, amount in charges.sums(filters, Charge.project_id)]
    by_day = [DayCost(at, amount) for at, _, amount in charges.sums(filters, day)]
    return CostSummary(
        from_at=filters.from_at,
        to_at=filters.to_at,
        total=charges.total(filters),
        by_resource=by_resource,
        by_sku=[SkuCost(*row) for row in charges.sums(filters, Charge.sku, Charge.unit)],
        by_project=by_project,
        by_day=sorted(by_day, key=lambda cost: cost.day),
        unrated=unrated_usage(session, scope, filters),
    )


def charged_to(
    session: Session, scope: Scope, resource_kind: str, resource_ids: Sequence[UUID], *, since: datetime | None = None
) -> dict[UUID, Decimal]:
    """What was charged so far, or for usage `since`, to each of these resources; one without a charge is left out."""
    return ChargeRepository(session, scope).amounts(resource_kind, resource_ids, since=since)


def charges_by_price(
    session: Session, scope: Scope, resource_kind: str, resource_id: UUID
) -> tuple[list[ResourceCharge], Decimal]:
    """What one resource was charged, per SKU and unit price, and its usage that has no charge yet."""
    filters = Filters(resource_kind=resource_kind, resource_id=resource_id)
    rows = ChargeRepository(session, scope).sums(filters, Charge.sku, Charge.unit, Charge.unit_price)
    waiting = UsageRepository(session, scope).unrated(filters)
    return [ResourceCharge(*row) for row in rows], sum((quantity for _, _, quantity, _ in waiting), Decimal(0))


def charged_by_variant(
    session: Session, scope: Scope, resource_kind: str, resource_id: UUID, *, from_at: datetime, to_at: datetime
) -> list[VariantCost]:
    """What one resource was charged in [from_at, to_at), by variant and SKU, the largest amount first."""
    filters = Filters(resource_kind=resource_kind, resource_id=resource_id, from_at=from_at, to_at=to_at)
    rows = ChargeRepository(session, scope).sums(filters, Charge.variant, Charge.sku, Charge.unit)
    return [VariantCost(*row) for row in rows]


def charged_by_day(
    session: Session, scope: Scope, resource_kind: str, resource_id: UUID, *, from_at: datetime, to_at: datetime
) -> list[VariantDay]:
    """What one resource was charged in [from_at, to_at), by day (UTC) and variant."""
    filters = Filters(resource_kind=resource_kind, resource_id=resource_id, from_at=from_at, to_at=to_at)
    day = cast(func.timezone("UTC", Charge.from_at), Date)
    rows = ChargeRepository(session, scope).sums(filters, day, Charge.variant)
    return [VariantDay(at, variant, amount) for at, variant, _, amount in rows]


def charged_this_month(session: Session, scope: Scope) -> Decimal:
    """What was charged for the month so far (UTC, Postgres's clock)."""
    return DayRepository(session, scope).total(Days(since=month_start(database_now(session)).date()))


def unrated_usage(session: Session, scope: Scope, filters: Filters) -> list[UnratedUsage]:
    """What has no charge yet, per SKU, and whether a price is missing."""
    rows = UsageRepository(session, scope).unrated(filters)
    unpriced = set(pricing.unpriced_skus(session)) if rows else set()
    return [UnratedUsage(sku, records, quantity, since, sku not in unpriced) for sku, records, quantity, since in rows]


def get_invoice(session: Session, scope: Scope, month: str, *, limit: int | None = None) -> Invoice:
    """The bill of a month (charges that start in it); of its lines the `limit` largest. Raises MonthNotValid.

    `closed` = the month is over and everything in it is charged: the bill no longer changes.
    """
    from_at, to_at = month_bounds(month)
    filters = Filters(from_at=from_at, to_at=to_at)
    rows, totals = ChargeRepository(session, scope).lines(filters, limit=limit)
    unrated = unrated_usage(session, scope, filters)
    return Invoice(
        month=month,
        from_at=from_at,
        to_at=to_at,
        closed=database_now(session) >= to_at and not unrated,
        lines=[InvoiceLine(*row) for row in rows],
        line_count=totals.lines,
        exact_total=totals.exact,
        total=totals.rounded,
        unrated=unrated,
    )
