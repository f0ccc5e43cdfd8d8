"""Budgets and the holds on spending that they place. Changing one needs the permission `billing`."""

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from backend.billing import budgets
from backend.billing.rating import money
from backend.billing.schemas import BudgetChange, BudgetCreate
from frontend.forms import Form, Typed, parse
from frontend.pages.common import AtDesk, Desk, FromOurPage
from frontend.services import parse_id
from frontend.views import costs as views

router = APIRouter(prefix="/costs")

LIST = "/costs/budgets"
ALERTS = 5
"""Fields for alerts in the form; a budget with more keeps and shows them all."""
CREATE_EXAMPLE = """curl {base}/api/v1/budgets \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"amount": "100.00", "alert_percents": [50, 80, 100], "hold_at_limit": true}}'"""
CHANGE_EXAMPLE = """curl -X PATCH {base}/api/v1/budgets/{id} \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"amount": "{amount}"}}'"""
T = TypeVar("T", bound=BaseModel)


@router.get("/budgets")
def list_budgets(desk: AtDesk) -> Response:
    """All budgets with what is spent this month, and open holds. There are few: they need no pages."""
    with desk.session() as session:
        found = views.read_budgets(session, desk.scope)
        holds = views.read_holds(session, desk.scope)
    return desk.show("costs/budgets.html", budgets=found, holds=holds)


@router.get("/budgets/new")
def show_new(desk: AtDesk) -> Response:
    """The form of a new budget."""
    desk.viewer.require("billing")
    return _form(desk, Form())


@router.post("/budgets", dependencies=[FromOurPage])
def create_budget(desk: AtDesk, typed: Typed) -> Response:
    """A new budget."""
    desk.viewer.require("billing")
    form = _with_empty(parse(BudgetCreate, typed), typed)
    if desk.take(form, lambda session, wanted: budgets.create_budget(session, desk.viewer, **dict(wanted))) is None:
        return _form(desk, form)
    return desk.go_on(LIST, desk.say("The budget was created."))


def _with_empty(form: Form[T], typed: Mapping[str, str]) -> Form[T]:
    """Fields that are shown and were emptied mean "none of them", not "as before"."""
    if form.request is not None:
        emptied: dict[str, Any] = {}
        if not any(value.strip() for name, value in typed.items() if name.startswith("alert_percents.")):
            emptied["alert_percents"] = []
        if not typed.get("tags:lines", "").strip():
            emptied["tags"] = {}
        form.request = form.request.model_copy(update=emptied)
    return form


@router.get("/budgets/{budget_id}")
def show_budget(desk: AtDesk, budget_id: str) -> Response:
    """One budget, to be changed by those who may."""
    row = _read(desk, parse_id(budget_id))
    return _form(desk, Form(values=_values_of(row)), row)


def _read(desk: Desk, budget_id: UUID) -> views.BudgetRow:
    with desk.session() as session:
        status = budgets.get_budget(session, desk.scope, budget_id)
        return views.budget_row(status, views.project_names(session, desk.scope))


def _values_of(row: views.BudgetRow) -> dict[str, str]:
    alerts = {f"alert_percents.{index}": str(percent) for index, percent in enumerate(row.alert_percents)}
    return {
        "amount": money(row.amount),
        **alerts,
        "hold_at_limit:flag": "true" if row.hold_at_limit else "false",
        "tags:lines": "\n".join(f"{key}={value}" for key, value in sorted(row.tags.items())),
    }


@router.post("/budgets/{budget_id}", dependencies=[FromOurPage])
def change_budget(desk: AtDesk, typed: Typed, budget_id: str) -> Response:
    """Change a budget."""
    desk.viewer.require("billing")
    wanted = parse_id(budget_id)
    form = _with_empty(parse(BudgetChange, typed), typed)
    if form.request is not None and form.request.amount is None:
        form.errors["amount"] = "This is needed."
        form.request = None
    if form.request is None:
        return _form(desk, form, _read(desk, wanted))
    with desk.session() as session:
        budgets.change_budget(session, desk.viewer, wanted, **dict(form.request))
    return desk.go_on(LIST, desk.say("The budget was changed."))


@router.post("/budgets/{budget_id}/delete", dependencies=[FromOurPage])
def delete_budget(desk: AtDesk, budget_id: str) -> Response:
    """Remove a budget."""
    desk.viewer.require("billing")
    with desk.session() as session:
        budgets.delete_budget(session, desk.viewer, parse_id(budget_id))
    return desk.go_on(LIST, desk.say("The budget was deleted. A hold that it placed is lifted."))


@router.post("/holds/{hold_id}/lift", dependencies=[FromOurPage])
def lift_hold(desk: AtDesk, hold_id: str) -> Response:
    """Allow spending again."""
    desk.viewer.require("billing")
    with desk.session() as session:
        budgets.lift_hold(session, desk.viewer, parse_id(hold_id))
    return desk.go_on(LIST, desk.say("Spending is allowed again."))


def _form(desk: Desk, form: Form[Any], row: views.BudgetRow | None = None) -> Response:
    example = CREATE_EXAMPLE.format(base=desk.base)
    if row is not None:
        example = CHANGE_EXAMPLE.format(base=desk.base, id=row.id, amount=money(row.amount))
    alerts = range(max(ALERTS, len(row.alert_percents) if row else 0))
    return desk.show_form("costs/budget.html", form, budget=row, alerts=alerts, api_example=example)
