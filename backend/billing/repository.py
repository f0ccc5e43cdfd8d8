"""All SQL of billing that sees one tenant. `pricing_repository` holds what spans tenants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, Numeric, Select, Uuid, case, cast, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as insert_or_nothing
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.billing.models import Budget, Charge, ChargeDay, SpendingHold, UsageRecord
from backend.core.db import Scope
from backend.core.pagination import PageRequest, fetch_page

LINE_KEY = ("project_id", "resource_kind", "resource_id", "resource_name", "variant", "sku", "unit", "unit_price")
"""What one line of a bill sums up."""


@dataclass(frozen=True)
class Filters:
    """What a list or a sum is narrowed to; `from_at` ≤ start < `to_at`."""

    project_id: UUID | None = None
    resource_kind: str | None = None
    resource_id: UUID | None = None
    sku: str | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None


@dataclass(frozen=True)
class Days:
    """Whole days (UTC), `since` ≤ day < `before`; None = without a bound."""

    project_id: UUID | None = None
    since: date | None = None
    before: date | None = None

    @classmethod
    def within(cls, filters: Filters) -> Self:
        """Of a project and a period that begins and ends at midnight."""
        since, before = (moment and _day(moment) for moment in (filters.from_at, filters.to_at))
        return cls(filters.project_id, since, before)


@dataclass(frozen=True)
class BillTotals:
    """Of all lines of a bill: how many, their exact sum, and the sum of the rounded ones."""

    lines: int
    exact: Decimal
    rounded: Decimal


def rounded_to_cents(amount: ColumnElement[Decimal]) -> ColumnElement[Decimal]:
    """SQL for `rating.round_to_cents` (half-even) of an amount that is not negative."""
    cents = amount * 100
    whole, rest = func.floor(cents), cents - func.floor(cents)
    half = literal(Decimal("0.5"))
    up = case((rest > half, 1), (rest < half, 0), else_=func.mod(whole, 2))
    return cast((whole + up) / 100, Numeric(38, 2))


class UsageRepository:
    """Usage records of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def insert_once(self, values: Mapping[str, Any]) -> bool:
        """Add a record unless it collides with one on a unique or exclusion constraint. False = it collided."""
        statement = (
            insert_or_nothing(UsageRecord)
            .values(organization_id=self._scope.organization_id, **values)
            .on_conflict_do_nothing()
            .returning(UsageRecord.id)
        )
        return self._session.scalar(statement) is not None

    def same_start(self, source_id: UUID, sku: str, from_at: datetime) -> UsageRecord | None:
        """The record of this source and SKU that begins at this moment."""
        return self._session.scalars(
            select(UsageRecord).where(
                UsageRecord.organization_id == self._scope.organization_id,
                UsageRecord.source_id == source_id,
                UsageRecord.sku == sku,
                UsageRecord.from_at == from_at,
            )
        ).one_or_none()

    def page(self, filters: Filters, page: PageRequest) -> tuple[list[UsageRecord], str | None]:
        """Newest first, and the cursor of the next page."""
        query = select(UsageRecord).where(*_conditions(UsageRecord, self._scope, filters))
        return fetch_page(self._session, query, page, keys=(UsageRecord.from_at, UsageRecord.id))

    def unrated(self, filters: Filters) -> list[tuple[str, int, Decimal, datetime]]:
        """Per SKU: (sku, records, quantity, earliest start) of what has no charge yet."""
        rows = self._session.execute(
            select(
                UsageRecord.sku,
                func.count(),
                func.sum(UsageRecord.quantity),
                func.min(UsageRecord.from_at),
            )
            .where(*_conditions(UsageRecord, self._scope, filters), UsageRecord.rated_at.is_(None))
            .group_by(UsageRecord.sku)
            .order_by(UsageRecord.sku)
        )
        return [(sku, records, quantity, since) for sku, records, quantity, since in rows]

    def mark_rated(self, record_ids: Sequence[UUID]) -> None:
        """These have their charges."""
        self._session.execute(
            update(UsageRecord)
            .where(
                UsageRecord.organization_id == self._scope.organization_id,
                UsageRecord.id.in_(record_ids),
            )
            .values(rated_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )


class ChargeRepository:
    """Charges of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def add_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append charges; a trigger adds them to the sums of their days."""
        if rows:
            own = {"organization_id": self._scope.organization_id}
            # With RETURNING, SQLAlchemy sends a thousand rows a statement, and the trigger runs once for them.
            self._session.execute(insert(Charge).returning(Charge.id), [{**row, **own} for row in rows])

    def page(self, filters: Filters, page: PageRequest) -> tuple[list[Charge], str | None]:
        """Newest first, and the cursor of the next page."""
        query = select(Charge).where(*_conditions(Charge, self._scope, filters))
        return fetch_page(self._session, query, page, keys=(Charge.from_at, Charge.id))

    def total(self, filters: Filters) -> Decimal:
        """The exact sum of amounts."""
        total = self._session.scalar(select(func.sum(Charge.amount)).where(*_conditions(Charge, self._scope, filters)))
        return total or Decimal(0)

    def amounts(
        self, resource_kind: str, resource_ids: Sequence[UUID], *, since: datetime | None = None
    ) -> dict[UUID, Decimal]:
        """The exact sum charged to each of these resources, of usage that begins at `since` or later; one without a
        charge is left out.
        """
        filters = Filters(resource_kind=resource_kind, from_at=since)
        rows = self._session.execute(
            select(Charge.resource_id, func.sum(Charge.amount))
            .where(*_conditions(Charge, self._scope, filters), Charge.resource_id.in_(resource_ids))
            .group_by(Charge.resource_id)
        )
        return {row[0]: row[1] for row in rows}

    def lines(self, filters: Filters, *, limit: int | None = None) -> tuple[list[tuple[Any, ...]], BillTotals]:
        """Rows (*LINE_KEY, quantity, amount, amount rounded to cents), the largest first, of them the first `limit`;
        and the totals of all.
        """
        amount = func.sum(Charge.amount).label("amount")
        key = [getattr(Charge, name) for name in LINE_KEY]
        exact = (
            select(*key, func.sum(Charge.quantity).label("quantity"), amount)
            .where(*_conditions(Charge, self._scope, filters))
            .group_by(*key)
            .subquery()
        )
        lines = select(exact, rounded_to_cents(exact.c.amount).label("rounded")).subquery()
        totals = [func.count().over(), func.sum(lines.c.amount).over(), func.sum(lines.c.rounded).over()]
        order = [lines.c.amount.desc(), *(lines.c[name] for name in LINE_KEY)]
        rows = self._session.execute(select(lines, *totals).order_by(*order).limit(limit)).all()
        found = BillTotals(*rows[0][-3:]) if rows else BillTotals(0, Decimal(0), Decimal(0))
        return [tuple(row[:-3]) for row in rows], found

    def largest(self, filters: Filters, *, limit: int) -> list[tuple[UUID, str, UUID, str, Decimal]]:
        """(project, kind, id, name, exact sum) of the resources that were charged most.

        Sums come from an index that holds no names: those are looked up for what is shown.
        """
        amount = func.sum(Charge.amount)
        key = (Charge.project_id, Charge.resource_kind, Charge.resource_id)
        rows = self._session.execute(
            select(*key, amount)
            .where(*_conditions(Charge, self._scope, filters))
            .group_by(*key)
            .order_by(amount.desc(), *key)
            .limit(limit)
        ).all()
        names: dict[tuple[str, UUID], str] = {}
        for kind in {row[1] for row in rows}:
            ids = [row[2] for row in rows if row[1] == kind]
            names |= {(kind, id_): name for id_, name in self._session.execute(self._names(kind, ids))}
        return [(project, kind, id_, names[kind, id_], total) for project, kind, id_, total in rows]

    def _names(self, resource_kind: str, ids: Sequence[UUID]) -> Select[*tuple[Any, ...]]:
        """(id, name) of resources, from a charge of each: a lookup per resource, not a walk through its charges."""
        wanted = func.unnest(cast(list(ids), ARRAY(Uuid()))).table_valued("id", name="wanted").render_derived()
        one = (
            select(Charge.resource_name)
            .where(
                Charge.organization_id == self._scope.organization_id,
                Charge.resource_kind == resource_kind,
                Charge.resource_id == wanted.c.id,
            )
            .limit(1)
            .lateral()
        )
        return select(wanted.c.id, one.c.resource_name).join(one, literal(value=True))

    def sums(
        self, filters: Filters, *by: ColumnElement[Any] | InstrumentedAttribute[Any], limit: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows (*by, quantity, amount), the largest amount first; of them the first `limit`."""
        amount = func.sum(Charge.amount)
        rows = self._session.execute(
            select(*by, func.sum(Charge.quantity), amount)
            .where(*_conditions(Charge, self._scope, filters))
            .group_by(*by)
            .order_by(amount.desc(), *by)
            .limit(limit)
        )
        return [tuple(row) for row in rows]


class DayRepository:
    """Charges of one organization summed up by day (UTC): few rows, however many charges there are."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def total(self, period: Days) -> Decimal:
        """The exact sum of amounts."""
        total = self._session.scalar(select(func.sum(ChargeDay.amount)).where(*self._within(period)))
        return total or Decimal(0)

    def sums(self, period: Days, *by: InstrumentedAttribute[Any]) -> list[tuple[Any, ...]]:
        """Rows (*by, quantity, amount), the largest amount first."""
        amount = func.sum(ChargeDay.amount)
        rows = self._session.execute(
            select(*by, func.sum(ChargeDay.quantity), amount)
            .where(*self._within(period))
            .group_by(*by)
            .order_by(amount.desc(), *by)
        )
        return [tuple(row) for row in rows]

    def charges(self, period: Days) -> int:
        """How many charges there are."""
        return int(self._session.scalar(select(func.sum(ChargeDay.charges)).where(*self._within(period))) or 0)

    def earliest(self, project_id: UUID | None = None) -> date | None:
        """The first day with a charge."""
        found: date | None = self._session.scalar(
            select(func.min(ChargeDay.day)).where(*self._within(Days(project_id=project_id)))
        )
        return found

    def _within(self, period: Days) -> list[ColumnElement[bool]]:
        found = [ChargeDay.organization_id == self._scope.organization_id]
        if period.project_id is not None:
            found.append(ChargeDay.project_id == period.project_id)
        if period.since is not None:
            found.append(ChargeDay.day >= period.since)
        if period.before is not None:
            found.append(ChargeDay.day < period.before)
        return found


class BudgetRepository:
    """Budgets and spending holds of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def add(self, row: Budget | SpendingHold) -> None:
        """Insert a budget or a hold."""
        row.organization_id = self._scope.organization_id
        self._session.add(row)
        self._session.flush()

    def budgets(self, *, lock: bool = False) -> Sequence[Budget]:
        """All budgets, oldest first."""
        query = select(Budget).where(Budget.organization_id == self._scope.organization_id).order_by(Budget.id)
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).all()

    def budget(self, budget_id: UUID, *, lock: bool = False) -> Budget | None:
        """One budget."""
        query = select(Budget).where(Budget.organization_id == self._scope.organization_id, Budget.id == budget_id)
        return self._session.scalars(query.with_for_update() if lock else query).one_or_none()

    def delete(self, budget: Budget) -> None:
        """Remove a budget; its hold is lifted by the next check."""
        self._session.delete(budget)

    def open_for(self, project_id: UUID | None) -> SpendingHold | None:
        """The oldest open hold on the whole organization or on this project."""
        return self._session.scalars(
            self._open()
            .where(or_(SpendingHold.project_id.is_(None), SpendingHold.project_id == project_id))
            .order_by(SpendingHold.placed_at, SpendingHold.id)
            .limit(1)
        ).one_or_none()

    def open_holds(self, *, lock: bool = False) -> Sequence[SpendingHold]:
        """All open holds, oldest first."""
        query = self._open().order_by(SpendingHold.placed_at, SpendingHold.id)
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).all()

    def open_hold(self, hold_id: UUID) -> SpendingHold | None:
        """One open hold, locked: it is lifted once."""
        return self._session.scalars(
            self._open().where(SpendingHold.id == hold_id).with_for_update(key_share=True)
        ).one_or_none()

    def placed_since(self, budget: Budget, since: datetime) -> bool:
        """Whether this budget, at its present amount, has placed a hold since then, lifted or not."""
        found = self._session.scalar(
            select(SpendingHold.id)
            .where(
                SpendingHold.organization_id == self._scope.organization_id,
                SpendingHold.budget_id == budget.id,
                SpendingHold.limit_amount == budget.amount,
                SpendingHold.placed_at >= since,
            )
            .limit(1)
        )
        return found is not None

    def _open(self) -> Select[SpendingHold]:
        return select(SpendingHold).where(
            SpendingHold.organization_id == self._scope.organization_id, SpendingHold.lifted_at.is_(None)
        )


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _conditions(model: type[Charge] | type[UsageRecord], scope: Scope, filters: Filters) -> list[ColumnElement[bool]]:
    pairs = (
        (filters.project_id, model.project_id),
        (filters.resource_kind, model.resource_kind),
        (filters.resource_id, model.resource_id),
        (filters.sku, model.sku),
    )
    found = [model.organization_id == scope.organization_id]
    found += [column == value for value, column in pairs if value is not None]
    if filters.from_at is not None:
        found.append(model.from_at >= filters.from_at)
    if filters.to_at is not None:
        found.append(model.from_at < filters.to_at)
    return found
