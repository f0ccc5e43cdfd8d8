"""Budgets and the holds on spending that they place. Changing one needs the permission `billing`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from backend.billing import budgets
from backend.billing.rating import money
from backend.billing.schemas import BudgetChange, BudgetCreate
from backend.core.auth import Principal
from backend.core.errors import DomainError
from frontend import flash
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
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
def list_budgets(request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back) -> Response:
    """All budgets with what is spent this month, and open holds."""
    with back.tenant(viewer) as session:
        found = views.read_budgets(session, viewer.scope)
        holds = views.read_holds(session, viewer.scope)
    context = framed(platform, viewer, budgets=found, holds=holds)
    return pages.respond(request, "costs/budgets.html", context)


@router.get("/budgets/new")
def show_new(request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services) -> Response:
    """The form of a new budget."""
    viewer.require("billing")
    return _form(request, pages, platform, viewer, Form())


@router.post("/budgets", dependencies=[FromOurPage])
def create_budget(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """A new budget."""
    viewer.require("billing")
    form = _with_empty(parse(BudgetCreate, typed), typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                budgets.create_budget(session, viewer, **dict(form.request))
        except DomainError as error:
            form.refuse(error)
        else:
            return flash.go_on(request, LIST, pages.say(request, "The budget was created."))
    return _form(request, pages, platform, viewer, form)


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
def show_budget(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, budget_id: str
) -> Response:
    """One budget, to be changed by those who may."""
    with back.tenant(viewer) as session:
        status = budgets.get_budget(session, viewer.scope, parse_id(budget_id))
        row = views.budget_row(status, views.project_names(session, viewer.scope))
    return _form(request, pages, platform, viewer, Form(values=_values_of(row)), row)


def _values_of(row: views.BudgetRow) -> dict[str, str]:
    alerts = {f"alert_percents.{index}": str(percent) for index, percent in enumerate(row.alert_percents)}
    return {
        "amount": money(row.amount),
        **alerts,
        "hold_at_limit:flag": "true" if row.hold_at_limit else "false",
        "tags:lines": "\n".join(f"{key}={value}" for key, value in sorted(row.tags.items())),
    }


@router.post("/budgets/{budget_id}", dependencies=[FromOurPage])
def change_budget(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    typed: Typed,
    budget_id: str,
) -> Response:
    """Change a budget."""
    viewer.require("billing")
    wanted = parse_id(budget_id)
    form = _with_empty(parse(BudgetChange, typed), typed)
    if form.request is not None and form.request.amount is None:
        form.errors["amount"] = "This is needed."
        form.request = None
    with back.tenant(viewer) as session:
        if form.request is not None:
            budgets.change_budget(session, viewer, wanted, **dict(form.request))
            return flash.go_on(request, LIST, pages.say(request, "The budget was changed."))
        status = budgets.get_budget(session, viewer.scope, wanted)
        row = views.budget_row(status, views.project_names(session, viewer.scope))
    return _form(request, pages, platform, viewer, form, row)


@router.post("/budgets/{budget_id}/delete", dependencies=[FromOurPage])
def delete_budget(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, budget_id: str) -> Response:
    """Remove a budget."""
    viewer.require("billing")
    with back.tenant(viewer) as session:
        budgets.delete_budget(session, viewer, parse_id(budget_id))
    return flash.go_on(request, LIST, pages.say(request, "The budget was deleted. A hold that it placed is lifted."))


@router.post("/holds/{hold_id}/lift", dependencies=[FromOurPage])
def lift_hold(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, hold_id: str) -> Response:
    """Allow spending again."""
    viewer.require("billing")
    with back.tenant(viewer) as session:
        budgets.lift_hold(session, viewer, parse_id(hold_id))
    return flash.go_on(request, LIST, pages.say(request, "Spending is allowed again."))


def _form(
    request: Request,
    pages: Renderer,
    platform: Services,
    viewer: Principal,
    form: Form[Any],
    row: views.BudgetRow | None = None,
) -> Response:
    base = str(request.base_url).rstrip("/")
    example = CREATE_EXAMPLE.format(base=base)
    if row is not None:
        example = CHANGE_EXAMPLE.format(base=base, id=row.id, amount=money(row.amount))
    alerts = max(ALERTS, len(row.alert_percents) if row else 0)
    context = framed(platform, viewer, form=form, budget=row, alerts=range(alerts), api_example=example)
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "costs/budget.html", context, status_code=code)
