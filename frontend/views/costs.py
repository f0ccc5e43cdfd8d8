"""View models of the costs room, and how they are read from billing and projects.

Money is exact; `share` is a part of the month's total in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing import budgets, costs, explorer
from backend.billing.budgets import BudgetStatus
from backend.billing.costs import Invoice, InvoiceLine, ProjectCost, ResourceCost, SkuCost, UnratedUsage
from backend.billing.models import SpendingHold, UsageRecord
from backend.billing.rating import money
from backend.billing.repository import Filters
from backend.core.db import Scope
from backend.core.pagination import MAX_LIMIT, PageRequest
from backend.projects import service as projects

LARGEST = 50
LINES = 500
MANY = 5_000
"""Charges of a month from which on a page is painted before its largest resources, or a bill's lines, are summed up."""
PAGES = {"job": "/training/{id}", "endpoint": "/endpoints/{id}"}
"""Where a billed resource has a page."""


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One resource, project or kind and its part of the month. `path` None = it has no page."""

    name: str
    kind: str = ""
    project_name: str = ""
    path: str | None = None
    amount: Decimal
    share: float


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A month of costs. `change`: against the whole month before, None where nothing was charged then."""

    month: str
    over: bool
    total: Decimal
    before: Decimal
    change: float | None
    expected: Decimal | None
    low: Decimal | None
    high: Decimal | None
    rests_on: int
    projects: Sequence[CostRow]
    kinds: Mapping[str, Decimal]
    resources: Sequence[CostRow]
    unrated: Sequence["SkuRow"]


@dataclass(frozen=True, kw_only=True)
class SkuRow:
    """Usage of one SKU: seconds or calls. `since`, `has_price` only of what is not charged yet."""

    sku: str
    unit: str
    quantity: Decimal
    amount: Decimal | None = None
    records: int = 0
    since: datetime | None = None
    has_price: bool = True


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    """A budget as its list shows it. `state`: fine, alert (a percent of its alerts is reached) or reached."""

    id: str
    project_id: str
    project_name: str | None
    amount: Decimal
    spent: Decimal
    share: float
    state: str
    percent: int
    alert_percents: Sequence[int]
    hold_at_limit: bool
    tags: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class HoldRow:
    """New spending is stopped, for a project or (None) for the organization."""

    id: str
    project_name: str | None
    reason: str
    placed_at: datetime


@dataclass(frozen=True, kw_only=True)
class LineRow:
    """One line of an invoice; quantity, price and amounts as exact decimal texts."""

    name: str
    kind: str
    path: str | None
    project_name: str
    variant: str
    sku: str
    unit: str
    quantity: str
    unit_price: str
    amount: str
    rounded: Decimal


@dataclass(frozen=True, kw_only=True)
class InvoiceView:
    """A month's bill; `left_out` lines are in the CSV only."""

    month: str
    from_at: datetime
    to_at: datetime
    closed: bool
    lines: Sequence[LineRow]
    left_out: int
    exact_total: str
    total: Decimal
    unrated: Sequence[SkuRow]


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """What one source consumed in [from_at, to_at)."""

    name: str
    kind: str
    path: str | None
    project_name: str
    sku: str
    unit: str
    quantity: Decimal
    from_at: datetime
    to_at: datetime
    charged: bool


def project_names(session: Session, scope: Scope) -> dict[UUID, str]:
    """Every project's name."""
    names: dict[UUID, str] = {}
    cursor = None
    while True:
        found, cursor = projects.list_projects(session, scope, PageRequest(limit=MAX_LIMIT, cursor=cursor))
        names |= {one.id: one.name for one in found}
        if cursor is None:
            return names


def named(names: Mapping[UUID, str], project_id: UUID) -> str:
    """A project's name; one that is gone has its id's end."""
    return names.get(project_id) or f"\N{HORIZONTAL ELLIPSIS}{str(project_id)[-8:]}"


def path_of(kind: str, resource_id: UUID) -> str | None:
    """The page of a billed resource."""
    return PAGES[kind].format(id=resource_id) if kind in PAGES else None


def read_overview(
    session: Session,
    scope: Scope,
    month: str | None,
    project_id: UUID | None,
    kind: str | None,
    *,
    largest: bool = True,
) -> Overview:
    """The overview of a month; without its `resources` unless the `largest` are wanted. Raises MonthNotValid."""
    limit = LARGEST if largest else 0
    found = explorer.explore(session, scope, month, project_id=project_id, resource_kind=kind, limit=limit)
    ahead = None if found.over else explorer.forecast(session, scope, project_id)
    names = project_names(session, scope)
    share = _share_of(found.total)
    return Overview(
        month=found.month,
        over=found.over,
        total=found.total,
        before=found.before,
        change=float(found.total / found.before) - 1 if found.before else None,
        expected=ahead.end.expected if ahead else None,
        low=ahead.end.low if ahead else None,
        high=ahead.end.high if ahead else None,
        rests_on=ahead.rests_on if ahead else 0,
        projects=[_project_row(one, found.month, names, share) for one in found.by_project],
        kinds=found.kinds,
        resources=[_resource_row(one, names, share) for one in found.resources],
        unrated=[unrated_row(one) for one in found.unrated],
    )


def _project_row(
    cost: ProjectCost, month: str, names: Mapping[UUID, str], share: Callable[[Decimal], float]
) -> CostRow:
    return CostRow(
        name=named(names, cost.project_id),
        path=f"/costs?month={month}&project={cost.project_id}",
        amount=cost.amount,
        share=share(cost.amount),
    )


def _resource_row(cost: ResourceCost, names: Mapping[UUID, str], share: Callable[[Decimal], float]) -> CostRow:
    return CostRow(
        name=cost.resource_name,
        kind=cost.resource_kind,
        project_name=named(names, cost.project_id),
        path=path_of(cost.resource_kind, cost.resource_id),
        amount=cost.amount,
        share=share(cost.amount),
    )


def _share_of(total: Decimal) -> Callable[[Decimal], float]:
    return lambda amount: float(amount / total) if total else 0.0


def unrated_row(usage: UnratedUsage) -> SkuRow:
    """Usage that waits for its charge."""
    return SkuRow(
        sku=usage.sku,
        unit=unit_of(usage.sku),
        quantity=usage.quantity,
        records=usage.records,
        since=usage.since,
        has_price=usage.has_price,
    )


def sku_row(cost: SkuCost) -> SkuRow:
    """Usage that is charged."""
    return SkuRow(sku=cost.sku, unit=cost.unit, quantity=cost.quantity, amount=cost.amount)


def unit_of(sku: str) -> str:
    """`second` or `call`."""
    return "second" if sku.startswith("instance:") else "call"


def read_invoice(session: Session, scope: Scope, month: str) -> InvoiceView:
    """The bill of a month. Raises MonthNotValid."""
    found = costs.get_invoice(session, scope, month, limit=LINES)
    names = project_names(session, scope)
    return InvoiceView(
        month=found.month,
        from_at=found.from_at,
        to_at=found.to_at,
        closed=found.closed,
        lines=[_line(one, names) for one in found.lines],
        left_out=found.line_count - len(found.lines),
        exact_total=money(found.exact_total),
        total=found.total,
        unrated=[unrated_row(one) for one in found.unrated],
    )


def _line(line: InvoiceLine, names: Mapping[UUID, str]) -> LineRow:
    return LineRow(
        name=line.resource_name,
        kind=line.resource_kind,
        path=path_of(line.resource_kind, line.resource_id),
        project_name=named(names, line.project_id),
        variant=line.variant,
        sku=line.sku,
        unit=line.unit,
        quantity=money(line.quantity),
        unit_price=money(line.unit_price),
        amount=money(line.amount),
        rounded=line.rounded,
    )


CSV_HEAD = (
    *("project", "project_id", "resource_kind", "resource_id", "resource", "variant", "sku"),
    *("quantity", "unit", "unit_price_usd", "amount_usd", "rounded_usd"),
)


def csv_rows(invoice: Invoice, names: Mapping[UUID, str]) -> list[Sequence[str]]:
    """Every line of a bill, and below them the sums, as texts."""
    rows: list[Sequence[str]] = [
        (
            *(named(names, one.project_id), str(one.project_id), one.resource_kind, str(one.resource_id)),
            *(one.resource_name, one.variant, one.sku, money(one.quantity), one.unit),
            *(money(one.unit_price), money(one.amount), money(one.rounded)),
        )
        for one in invoice.lines
    ]
    return [*rows, ("total", *[""] * 9, money(invoice.exact_total), money(invoice.total))]


def read_budgets(session: Session, scope: Scope) -> list[BudgetRow]:
    """Every budget, with what is spent this month."""
    names = project_names(session, scope)
    return [budget_row(one, names) for one in budgets.list_budgets(session, scope)]


def budget_row(status: BudgetStatus, names: Mapping[UUID, str]) -> BudgetRow:
    """A budget's state in a word and figures."""
    budget = status.budget
    share = float(status.spent / budget.amount) if budget.amount else 1.0
    return BudgetRow(
        id=str(budget.id),
        project_id=str(budget.project_id or ""),
        project_name=named(names, budget.project_id) if budget.project_id else None,
        amount=budget.amount,
        spent=status.spent,
        share=share,
        state="reached" if status.reached else "alert" if status.alerts else "fine",
        percent=max(status.alerts, default=0),
        alert_percents=budget.alert_percents,
        hold_at_limit=budget.hold_at_limit,
        tags=budget.tags,
        created_at=budget.created_at,
    )


def read_holds(session: Session, scope: Scope) -> list[HoldRow]:
    """Open holds on spending."""
    held = budgets.list_holds(session, scope)
    names = project_names(session, scope) if held else {}
    return [_hold(one, names) for one in held]


def _hold(hold: SpendingHold, names: Mapping[UUID, str]) -> HoldRow:
    return HoldRow(
        id=str(hold.id),
        project_name=named(names, hold.project_id) if hold.project_id else None,
        reason=hold.reason,
        placed_at=hold.placed_at,
    )


def read_usage(session: Session, scope: Scope, where: Filters, page: PageRequest) -> tuple[list[UsageRow], str | None]:
    """One page of usage records, newest first, and the next page's cursor. Raises InvalidCursor."""
    rows, cursor = costs.list_usage(session, scope, where, page)
    names = project_names(session, scope)
    return [_usage(one, names) for one in rows], cursor


def _usage(record: UsageRecord, names: Mapping[UUID, str]) -> UsageRow:
    return UsageRow(
        name=record.resource_name,
        kind=record.resource_kind,
        path=path_of(record.resource_kind, record.resource_id),
        project_name=named(names, record.project_id),
        sku=record.sku,
        unit=unit_of(record.sku),
        quantity=record.quantity,
        from_at=record.from_at,
        to_at=record.to_at,
        charged=record.rated_at is not None,
    )
