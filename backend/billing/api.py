"""REST routes of billing. Reading needs `read`; budgets and holds are changed with `billing`."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from backend.billing import budgets, costs, pricing
from backend.billing.errors import BudgetNotFound, MonthNotValid, SpendingHoldNotFound, SuspendedByOperator
from backend.billing.repository import Filters
from backend.billing.schemas import (
    BudgetChange,
    BudgetCreate,
    BudgetList,
    BudgetView,
    ChargeView,
    CostSummaryView,
    InvoiceView,
    PriceList,
    PriceView,
    SpendingHoldList,
    SpendingHoldView,
    UsageView,
)
from backend.core.fields import Moment
from backend.core.http import BillingReader, Reader, Transaction
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.projects.errors import ProjectNotFound

PRINTABLE = r"^[\x20-\x7e]*$"

router = APIRouter(prefix="/api/v1", tags=["billing"])


def filters(
    *,
    project_id: UUID | None = None,
    resource_kind: Annotated[str | None, Query(max_length=64, pattern=PRINTABLE)] = None,
    resource_id: UUID | None = None,
    sku: Annotated[str | None, Query(max_length=200, pattern=PRINTABLE)] = None,
    from_at: Annotated[Moment | None, Query(alias="from", description="start, with zone")] = None,
    to_at: Annotated[Moment | None, Query(alias="to", description="end, exclusive")] = None,
) -> Filters:
    """Query parameters that narrow a list or a sum."""
    return Filters(project_id, resource_kind, resource_id, sku, from_at, to_at)


Narrowed = Annotated[Filters, Depends(filters)]


@router.get("/charges")
def list_charges(principal: Reader, session: Transaction, narrowed: Narrowed, page: PageParameters) -> Page[ChargeView]:
    """Charges, newest first."""
    rows, cursor = costs.list_charges(session, principal.scope, narrowed, page)
    return Page(items=[ChargeView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/usage")
def list_usage(principal: Reader, session: Transaction, narrowed: Narrowed, page: PageParameters) -> Page[UsageView]:
    """Usage records, newest first."""
    rows, cursor = costs.list_usage(session, principal.scope, narrowed, page)
    return Page(items=[UsageView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/costs/summary")
def summarize_costs(principal: Reader, session: Transaction, narrowed: Narrowed) -> CostSummaryView:
    """Exact sums by resource, SKU, project and day; without `from`, of this month up to now."""
    return CostSummaryView.model_validate(costs.summarize_costs(session, principal.scope, narrowed))


@router.get("/prices")
def list_prices(
    principal: Reader,  # noqa: ARG001 - prices are the same for all; a credential is needed all the same
    session: Transaction,
    at: Annotated[Moment | None, Query(description="only prices in force at this moment")] = None,
) -> PriceList:
    """All prices, past and future ones too, or those in force at a moment."""
    moment: datetime | None = at
    return PriceList(items=[PriceView.model_validate(row) for row in pricing.list_prices(session, at=moment)])


@router.get("/invoices/{month}", responses=raises(MonthNotValid))
def get_invoice(month: str, principal: Reader, session: Transaction) -> InvoiceView:
    """The bill of a month `yyyy-mm`, each line rounded once to cents."""
    return InvoiceView.model_validate(costs.get_invoice(session, principal.scope, month))


@router.post("/budgets", status_code=201, responses=raises(ProjectNotFound))
def create_budget(body: BudgetCreate, principal: BillingReader, session: Transaction) -> BudgetView:
    """A new budget."""
    status = budgets.create_budget(
        session,
        principal,
        project_id=body.project_id,
        amount=body.amount,
        alert_percents=body.alert_percents,
        hold_at_limit=body.hold_at_limit,
        tags=body.tags,
    )
    return BudgetView.of(status)


@router.get("/budgets")
def list_budgets(principal: Reader, session: Transaction) -> BudgetList:
    """All budgets, with what is spent this month."""
    return BudgetList(items=[BudgetView.of(status) for status in budgets.list_budgets(session, principal.scope)])


@router.get("/budgets/{budget_id}", responses=raises(BudgetNotFound))
def get_budget(budget_id: UUID, principal: Reader, session: Transaction) -> BudgetView:
    """One budget."""
    return BudgetView.of(budgets.get_budget(session, principal.scope, budget_id))


@router.patch("/budgets/{budget_id}", responses=raises(BudgetNotFound))
def change_budget(budget_id: UUID, body: BudgetChange, principal: BillingReader, session: Transaction) -> BudgetView:
    """Change amount, alerts, or whether it holds spending at its limit."""
    status = budgets.change_budget(
        session,
        principal,
        budget_id,
        amount=body.amount,
        alert_percents=body.alert_percents,
        hold_at_limit=body.hold_at_limit,
        tags=body.tags,
    )
    return BudgetView.of(status)


@router.delete("/budgets/{budget_id}", status_code=204, responses=raises(BudgetNotFound))
def delete_budget(budget_id: UUID, principal: BillingReader, session: Transaction) -> Response:
    """Remove a budget; a hold it placed is lifted."""
    budgets.delete_budget(session, principal, budget_id)
    return Response(status_code=204)


@router.get("/spending-holds")
def list_holds(principal: Reader, session: Transaction) -> SpendingHoldList:
    """Open holds on spending."""
    rows = budgets.list_holds(session, principal.scope)
    return SpendingHoldList(items=[SpendingHoldView.model_validate(row) for row in rows])


@router.post("/spending-holds/{hold_id}/lift", responses=raises(SpendingHoldNotFound, SuspendedByOperator))
def lift_hold(hold_id: UUID, principal: BillingReader, session: Transaction) -> SpendingHoldView:
    """Allow spending again; the budget does not place it anew this month unless its amount changes."""
    return SpendingHoldView.model_validate(budgets.lift_hold(session, principal, hold_id))
