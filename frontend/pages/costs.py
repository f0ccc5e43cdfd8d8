"""Costs: a month at a glance, its charts, what was used, and the bill. Budgets stand in `budgets`."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, get_args
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from backend.billing import costs, explorer
from backend.billing.explorer import Group
from backend.billing.rating import money
from backend.billing.repository import Filters
from backend.core.auth import Principal
from backend.core.pagination import PageRequest
from backend.projects import service as projects
from frontend.figures import Figure, document
from frontend.pages.common import Back, LoggedIn, Pages, Services, framed
from frontend.pages.jobs import STOP_POLLING
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import costfigures
from frontend.views import costs as views
from frontend.views.costfigures import Say

router = APIRouter(prefix="/costs")

PAGE_SIZE = 50
ROWS_AT_ONCE = 1000
"""Of a streamed file: each piece is a turn of a thread."""
EXAMPLE = """curl "{base}/api/v1/{path}" \\
  -H "Authorization: Bearer $MODELYARD_API_KEY\""""
CLI_EXAMPLE = "modelyard costs summary"
Word = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, kw_only=True)
class CostQuery:
    """What the pages of costs are narrowed to, as it stands in the URL; "" = not narrowed."""

    month: str
    project: str
    kind: str
    group: Group
    cursor: str

    def url(self, path: str, **changes: str) -> str:
        """An address under /costs with the same month and project, and with `changes`."""
        every = {"month": self.month, "project": self.project} | changes
        parameters = urlencode({name: value for name, value in every.items() if value})
        return f"/costs{path}" + (f"?{parameters}" if parameters else "")


def read_query(
    *,
    month: Word = "",
    project: Word = "",
    kind: Word = "",
    by: Word = "",
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> CostQuery:
    """Filters from the URL; an unknown grouping is the usual one."""
    group: Group = next((one for one in get_args(Group) if one == by), "resource_kind")
    return CostQuery(month=month, project=project, kind=kind, group=group, cursor=cursor)


Asked = Annotated[CostQuery, Depends(read_query)]


def _project(session: Session, viewer: Principal, query: CostQuery) -> UUID | None:
    """The project that the page is narrowed to. Raises ProjectNotFound, RouteNotFound."""
    return projects.get_project(session, viewer.scope, parse_id(query.project)).id if query.project else None


def _say(pages: Renderer, request: Request) -> Say:
    def say(message: str, /, **values: str | int) -> str:
        return pages.say(request, message, **values)

    return say


@router.get("")
def show_overview(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, query: Asked
) -> Response:
    """A month at a glance; for htmx, the parts that change, or the largest resources where there are many."""
    part = "HX-Request" in request.headers
    asked = part and request.headers.get("HX-Target") == "largest"
    with back.tenant(viewer) as session:
        project_id = _project(session, viewer, query)
        place = (session, viewer.scope, query.month or None, project_id)
        later = not asked and (part or explorer.size_of(*place)[0] > views.MANY)
        found = views.read_overview(*place, query.kind or None, largest=not later)
        context: dict[str, Any] = {
            "found": found,
            "later": later,
            "holds": views.read_holds(session, viewer.scope),
            "budgets": views.read_budgets(session, viewer.scope),
            "months": explorer.list_months(session, viewer.scope),
        }
    say = _say(pages, request)
    context["sku_name"] = lambda sku: costfigures.sku_name(sku, say)
    if part:
        code = STOP_POLLING if found.over and not asked else HTTPStatus.OK
        alone = {"viewer": viewer, "query": query, **context}
        block = "largest" if asked else "now"
        return pages.respond(request, "costs/overview.html", alone, block=block, status_code=code)
    context |= _examples(request, f"costs/summary?from={found.month}-01T00:00:00Z", CLI_EXAMPLE)
    return _page(request, pages, platform, viewer, query, "overview", **context)


def _examples(request: Request, path: str, cli: str = "") -> dict[str, str]:
    base = str(request.base_url).rstrip("/")
    return {"api_example": EXAMPLE.format(base=base, path=path), "cli_example": cli}


def _page(
    request: Request,
    pages: Renderer,
    platform: Services,
    viewer: Principal,
    query: CostQuery,
    name: str,
    **context: Any,  # noqa: ANN401 - template context
) -> Response:
    return pages.respond(request, f"costs/{name}.html", framed(platform, viewer, query=query, **context))


@router.get("/figures/{name}")
def read_figure(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, query: Asked, name: str) -> Response:
    """A chart's document; a name that is none is not found."""
    say = _say(pages, request)
    with back.tenant(viewer) as session:
        project_id = _project(session, viewer, query)
        months = explorer.list_months(session, viewer.scope)
        figure = _figure(session, viewer, query, name, query.month or months[0], project_id, say)
    return Response(document(figure), media_type="application/json")


def _figure(
    session: Session,
    viewer: Principal,
    query: CostQuery,
    name: str,
    month: str,
    project_id: UUID | None,
    say: Say,
) -> Figure:
    place = (session, viewer.scope, month, project_id)
    if name == "days":
        return costfigures.by_day(*place, query.group, say)
    if name == "ahead":
        return costfigures.ahead(*place, say)
    if name == "treemap":
        return costfigures.went_to(*place, say)
    if name in {"compute", "calls"}:
        return costfigures.usage_by_day(*place, "second" if name == "compute" else "call", say)
    raise costfigures.no_figure()


@router.get("/usage")
def show_usage(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, query: Asked
) -> Response:
    """What was used in a month: instance time and calls, in sums, by day and record by record."""
    with back.tenant(viewer) as session:
        project_id = _project(session, viewer, query)
        months = explorer.list_months(session, viewer.scope)
        month = query.month or months[0]
        from_at, to_at = costs.month_bounds(month)
        where = Filters(project_id=project_id, resource_kind=query.kind or None, from_at=from_at, to_at=to_at)
        page = PageRequest(limit=PAGE_SIZE, cursor=query.cursor or None)
        rows, cursor = views.read_usage(session, viewer.scope, where, page)
        sums = explorer.explore(session, viewer.scope, month, project_id=project_id, limit=0)
    say = _say(pages, request)
    return _page(
        request,
        pages,
        platform,
        viewer,
        query,
        "usage",
        month=month,
        months=months,
        rows=rows,
        next_cursor=cursor,
        skus=[views.sku_row(one) for one in sums.by_sku],
        unrated=[views.unrated_row(one) for one in sums.unrated],
        sku_name=lambda sku: costfigures.sku_name(sku, say),
        **_examples(request, f"usage?from={month}-01T00:00:00Z"),
    )


@router.get("/invoices")
def show_last_invoice(viewer: LoggedIn, back: Back) -> Response:
    """The bill of this month, as it grows."""
    with back.tenant(viewer) as session:
        month = explorer.list_months(session, viewer.scope)[0]
    return RedirectResponse(f"/costs/invoices/{month}", HTTPStatus.SEE_OTHER)


@router.get("/invoices/{month}.csv")
def download_invoice(viewer: LoggedIn, back: Back, month: str) -> Response:
    """Every line of a bill with every digit."""
    with back.tenant(viewer) as session:
        found = costs.get_invoice(session, viewer.scope, month)
        names = views.project_names(session, viewer.scope)
    return StreamingResponse(
        _csv([views.CSV_HEAD, *views.csv_rows(found, names)]),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="invoice-{found.month}.csv"'},
    )


def _csv(rows: list[Any]) -> Iterator[str]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        piece = io.StringIO()
        writer = csv.writer(piece, lineterminator="\n")
        writer.writerows([_plain(one) for one in row] for row in rows[start : start + ROWS_AT_ONCE])
        yield piece.getvalue()


def _plain(text: str) -> str:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@router.get("/invoices/{month}")
def show_invoice(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, month: str
) -> Response:
    """The bill of a month, line by line: quantity times unit price. A long one comes after its page, by htmx."""
    part = "HX-Request" in request.headers
    say = _say(pages, request)
    with back.tenant(viewer) as session:
        charges, exact = explorer.size_of(session, viewer.scope, month)
        later = charges > views.MANY and not part
        found = None if later else views.read_invoice(session, viewer.scope, month)
        months = explorer.list_months(session, viewer.scope)
    context = {
        "month": month,
        "found": found,
        "exact_text": money(exact),
        "sku_name": lambda sku: costfigures.sku_name(sku, say),
    }
    if part:
        return pages.respond(request, "costs/invoice.html", {"viewer": viewer, **context}, block="bill")
    query = read_query(month=month)
    examples = _examples(request, f"invoices/{month}")
    return _page(
        request,
        pages,
        platform,
        viewer,
        query,
        "invoice",
        months=months,
        **context,
        **examples,
    )
