"""The admin console: everything of all organizations, for operators of the platform only; to others it is not there.

Pages read as the database role *operator*, which cannot write. What an operator changes is done in the organization
it concerns, as the role *app*, and stands in that organization's audit as `operator:<id>`.
"""

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.errors import RouteNotFound
from backend.core.pagination import PageRequest
from backend.identity import console as identity
from backend.jobs import kinds, states
from backend.jobs.console import ConsoleFilter
from frontend.figures import document
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Back, Desk, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views import Platform, console
from frontend.views.audit import read_audit
from frontend.views.health import read_health

router = APIRouter(prefix="/admin")
PAGE_SIZE = 50
Text = Annotated[str, Query(max_length=200)]
Cursor = Annotated[str, Query(max_length=1024)]


def get_operator(viewer: LoggedIn) -> Principal:
    """The viewer, who runs the platform. To everybody else the console does not exist (404)."""
    if not viewer.operator:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    return viewer


Operating = Annotated[Principal, Depends(get_operator)]


def get_console(desk: AtDesk, _viewer: Operating) -> Desk:
    """An operator's desk."""
    return desk


AtConsole = Annotated[Desk, Depends(get_console)]
ORGANIZATIONS = Lists("text", sorts=("name", "created_at"), usual="-created_at")
JOBS = Lists("status", "kind", "organization", sorts=("created_at",), usual="-created_at")


def console_frame(platform: Platform, viewer: Principal, **context: Any) -> dict[str, Any]:  # noqa: ANN401 - template context
    """The context of a page of the console: the shell in its other colour."""
    return framed(platform, viewer, console=True, **context)


def address(path: str, **parameters: str | None) -> str:
    """A page of the console with what is given of these."""
    given = {name: value for name, value in parameters.items() if value}
    return f"/admin/{path}" + (f"?{urlencode(given)}" if given else "")


def optional_id(text: str) -> UUID | None:
    """An organization's id from the address, where one is given. Raises RouteNotFound."""
    return parse_id(text) if text else None


@router.get("")
def show_overview(request: Request, viewer: Operating, pages: Pages, platform: Services, back: Back) -> Response:
    """Spend, instances, queue, errors; for htmx, its figures alone."""
    with back.across() as session:
        found = console.read_overview(session)
    if "HX-Request" in request.headers:
        return pages.respond(request, "admin/overview.html", {"found": found}, block="now")
    return pages.respond(request, "admin/overview.html", console_frame(platform, viewer, found=found))


@router.get("/figures/spend")
def read_spend(request: Request, _viewer: Operating, pages: Pages, back: Back) -> Response:
    """Spend per day, by organization."""
    note = pages.say(request, "Spend of all organizations per day (UTC), the largest organizations by name.")
    with back.across() as session:
        figure = console.read_spend_figure(session, pages.say(request, "All other organizations"), note)
    return Response(document(figure), media_type="application/json")


@router.get("/organizations")
def list_organizations(desk: AtConsole, listing: Annotated[Listing, Depends(ORGANIZATIONS)]) -> Response:
    """Organizations, newest first; for htmx, the table alone."""
    words = listing["text"] if listing["text"].isprintable() else ""
    with desk.back.across() as session:
        found, following = console.read_organizations(session, words, listing.page(PAGE_SIZE))
    return desk.show_list("admin/organizations.html", "organizations", listing, following, found=found, console=True)


@router.get("/instances")
def list_instances(
    request: Request,
    *,
    viewer: Operating,
    pages: Pages,
    platform: Services,
    back: Back,
    organization: Text = "",
    after: Text = "",
) -> Response:
    """Instances that are not terminated: what each does, and what an hour of it costs."""
    with back.across() as session:
        found, following = console.read_instances(session, optional_id(organization), optional_id(after), PAGE_SIZE)
        whose = _name_of(session, organization)
    here = address("instances", organization=organization, after=after)
    context = {
        "found": found,
        "whose": whose,
        "here": here,
        "first": address("instances", organization=organization) if after else "",
        "older": address("instances", organization=organization, after=following) if following else "",
    }
    if "HX-Request" in request.headers:
        return pages.respond(request, "admin/instances.html", context, block="instances")
    return pages.respond(request, "admin/instances.html", console_frame(platform, viewer, **context))


@router.get("/jobs")
def list_jobs(desk: AtConsole, listing: Annotated[Listing, Depends(JOBS)]) -> Response:
    """Jobs of all organizations, with the reason they wait; at first those that have not ended."""
    status = listing["status"] or "unfinished"
    where = ConsoleFilter(
        organization_id=listing.id("organization"),
        status=status if status in {*states.ALL, "unfinished"} else None,
        kind=listing["kind"] if listing["kind"] in kinds.names() else None,
    )
    with desk.back.across() as session:
        found, following = console.read_jobs(session, where, listing.page(PAGE_SIZE))
        whose = _name_of(session, listing["organization"])
    words: dict[str, Any] = {"whose": whose, "statuses": states.ALL, "kinds": kinds.names()}
    return desk.show_list("admin/jobs.html", "jobs", listing, following, live=True, found=found, console=True, **words)


@router.get("/health")
def show_health(request: Request, viewer: Operating, pages: Pages, platform: Services, back: Back) -> Response:
    """The platform's parts; for htmx, the part that changes."""
    found = read_health(back)
    if "HX-Request" in request.headers:
        return pages.respond(request, "admin/health.html", {"found": found}, block="now")
    return pages.respond(request, "admin/health.html", console_frame(platform, viewer, found=found))


@router.get("/audit")
def show_audit(
    request: Request,
    *,
    viewer: Operating,
    pages: Pages,
    platform: Services,
    back: Back,
    organization: Text = "",
    action: Text = "",
    cursor: Cursor = "",
    check: Text = "",
) -> Response:
    """Who did what, newest first; with `check`, the organization's chain recomputed from its start."""
    whose_id = optional_id(organization)
    begins = action.strip() if action.isprintable() else ""
    with back.across() as session:
        found, following = read_audit(session, whose_id, begins, PageRequest(PAGE_SIZE, cursor or None))
        whose = _name_of(session, organization)
        chain = audit.verify_chain(session, Scope(whose_id)) if whose_id is not None and check else None
    given = {"organization": organization, "action": begins}
    context = console_frame(
        platform,
        viewer,
        found=found,
        whose=whose,
        organization=organization,
        action=begins,
        chain=chain,
        check=address("audit", **given, check="chain") if organization else "",
        first=address("audit", **given) if cursor else "",
        older=address("audit", **given, cursor=following) if following else "",
    )
    return pages.respond(request, "admin/audit.html", context)


def _name_of(session: Session, organization: str) -> str:
    """The name of the organization that a list is narrowed to; "" = it is not."""
    if not organization:
        return ""
    return identity.names(session, [parse_id(organization)]).get(parse_id(organization), organization)
