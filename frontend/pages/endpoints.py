"""Endpoints: the list, one endpoint's tabs, and what those pages fetch while it lives."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.core.errors import RouteNotFound
from backend.core.pagination import PageRequest
from backend.endpoints import service, states
from backend.endpoints.repository import EndpointFilter
from frontend import figures, flash
from frontend.forms import Typed
from frontend.lists import Listing, Lists
from frontend.pages.common import (
    STOP_POLLING,
    AtDesk,
    Back,
    Chosen,
    FromOurPage,
    LoggedIn,
    Pages,
    Services,
    TypedCount,
    framed,
)
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import endpointcosts, endpointtraffic
from frontend.views import endpoints as views
from frontend.views.playground import snippets

router = APIRouter()

PAGE_SIZE = 50
HISTORY_SIZE = 25
ENDPOINTS = Lists("text", "status", "project", sorts=("name", "created_at"), usual="-created_at")
Cursor = Annotated[str | None, Query(max_length=2000)]


def _url(path: str, **filters: str | None) -> str:
    """An address with the filters that are set."""
    given = {name: value for name, value in filters.items() if value}
    return path + (f"?{urlencode(given)}" if given else "")


@router.get("/endpoints")
def list_endpoints(desk: AtDesk, listing: Annotated[Listing, Depends(ENDPOINTS)]) -> Response:
    """The list; for htmx, its table alone. Where nothing moves it is not asked for again."""
    where = EndpointFilter(
        project_id=listing.id("project"), status=listing["status"] or None, name_contains=listing["text"] or None
    )
    with desk.session() as session:
        found = views.list_endpoints(session, desk.scope, where, listing.page(PAGE_SIZE))
    live = any(not one.settled for one in found.endpoints)
    return desk.show_list(
        "endpoints/list.html",
        "endpoints",
        listing,
        found.next_cursor,
        live=live,
        found=found,
        statuses=list(states.ENDPOINT),
    )


@router.post("/endpoints/delete", dependencies=[FromOurPage])
def delete_endpoints(desk: AtDesk, chosen: Chosen, typed: TypedCount = "") -> Response:
    """Ask for the deletion of the chosen endpoints, once their number was typed."""
    desk.viewer.require("write")
    desk.counted(chosen, typed)

    def name(session: Session, endpoint_id: UUID) -> str:
        return service.get_endpoint(session, desk.scope, endpoint_id).endpoint.name

    def delete(endpoint_id: UUID) -> None:
        with desk.session() as session:
            service.request_deletion(session, desk.viewer, endpoint_id)

    done = desk.say("It is being deleted. It answers nobody any more.")
    return desk.show_outcomes(desk.each(chosen, name=name, act=delete, done=done), "/endpoints")


@router.get("/endpoints/{endpoint_id}")
def show_traffic(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    endpoint_id: str,
    period: endpointtraffic.Period = "1h",
) -> Response:
    """One endpoint: how it is going, its replicas, its traffic."""
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
        traffic = endpointtraffic.read_page(session, viewer.scope, parse_id(endpoint_id), period)
    context = framed(
        platform, viewer, endpoint=endpoint, tab="traffic", traffic=traffic, periods=list(endpointtraffic.PERIODS)
    )
    return pages.respond(request, "endpoints/traffic.html", context)


@router.get("/endpoints/{endpoint_id}/live")
def refresh(request: Request, viewer: LoggedIn, pages: Pages, back: Back, endpoint_id: str) -> Response:
    """How it is going and its replicas, until it is deleted."""
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
    code = STOP_POLLING if endpoint.line.final else HTTPStatus.OK
    context = {"viewer": viewer, "endpoint": endpoint}
    return pages.respond(request, "endpoints/going.html", context, status_code=code)


@router.get("/endpoints/{endpoint_id}/traffic")
def refresh_traffic(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    back: Back,
    endpoint_id: str,
    period: endpointtraffic.Period = "1h",
) -> Response:
    """The traffic's figures and its table, until the endpoint is deleted."""
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
        traffic = endpointtraffic.read_page(session, viewer.scope, parse_id(endpoint_id), period)
    code = STOP_POLLING if endpoint.line.final else HTTPStatus.OK
    context = {"viewer": viewer, "endpoint": endpoint, "traffic": traffic}
    return pages.respond(request, "endpoints/traffic_now.html", context, status_code=code)


@router.get("/endpoints/{endpoint_id}/figures/{picture}")
def draw(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    back: Back,
    endpoint_id: str,
    picture: str,
    period: endpointtraffic.Period = "1h",
) -> Response:
    """One chart's content (`frontend.figures`)."""
    words = _words(request, pages)
    with back.tenant(viewer) as session:
        if picture == "cost":
            figure = endpointcosts.draw_days(session, viewer.scope, parse_id(endpoint_id), words)
        elif picture in endpointtraffic.PICTURES:
            known = endpointtraffic.PICTURES[picture]
            figure = endpointtraffic.draw(session, viewer.scope, parse_id(endpoint_id), known, period, words)
        else:
            raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    return Response(figures.document(figure), media_type="application/json")


def _words(request: Request, pages: Renderer) -> dict[str, str]:
    return {
        "none": pages.say(request, "no variant"),
        "calls": pages.say(request, "Calls per minute that were answered, by variant."),
        "errors": pages.say(request, "Calls per minute that were refused or failed, by variant."),
        "latency": pages.say(request, "Time from the whole request to its answer inside the replica, by variant."),
        "split": pages.say(request, "Share of the answered calls that each variant had."),
        "wanted": pages.say(request, "Share of the calls that the weights in force asked for."),
        "days": pages.say(request, "Charges per day of this month, by variant."),
    }


@router.get("/endpoints/{endpoint_id}/events")
def show_events(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    endpoint_id: str,
    at: Annotated[str, Query(max_length=40)] = "",
    cursor: Cursor = None,
) -> Response:
    """What happened when, and which version answered at a moment."""
    id_ = parse_id(endpoint_id)
    moment, complaint = _moment(request, pages, at)
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, id_)
        events = service.list_events(session, viewer.scope, id_)
        history, older = service.list_configs(session, viewer.scope, id_, PageRequest(HISTORY_SIZE, cursor or None))
        answering = None if moment is None else service.config_at(session, viewer.scope, id_, moment)
        versions = views.versions_of(session, viewer.scope, [*history, *([answering] if answering else [])])
        context = framed(
            platform,
            viewer,
            endpoint=endpoint,
            tab="events",
            events=[views.event_view(one, viewer) for one in reversed(events)],
            configs=[views.config_line(one, versions, viewer) for one in history],
            older=_url(request.url.path, cursor=older) if older else "",
            first=request.url.path if cursor else "",
            at=at,
            moment=moment,
            complaint=complaint,
            answering=None if answering is None else views.config_line(answering, versions),
        )
    return pages.respond(
        request,
        "endpoints/events.html",
        context,
        status_code=HTTPStatus.UNPROCESSABLE_ENTITY if complaint else HTTPStatus.OK,
    )


def _moment(request: Request, pages: Renderer, text: str) -> tuple[datetime | None, str]:
    """A time as the browser's field writes it (`2026-11-01T10:00`), in UTC; or what is wrong with it."""
    if not text.strip():
        return None, ""
    try:
        return datetime.fromisoformat(f"{text.strip().removesuffix('Z')}+00:00"), ""
    except ValueError:
        return None, pages.say(request, "Write a time like 2026-11-01 10:00, in UTC.")


@router.get("/endpoints/{endpoint_id}/snippets")
def show_snippets(
    request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, endpoint_id: str
) -> Response:
    """How programs call it."""
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
    address = back.settings.gateway.shown_url.rstrip("/")
    code = snippets(endpoint.line.name, address, back.settings.gateway.shown_grpc_address, endpoint.signature)
    context = framed(platform, viewer, endpoint=endpoint, tab="snippets", snippets=code, address=address)
    return pages.respond(request, "endpoints/snippets.html", context)


@router.get("/endpoints/{endpoint_id}/cost")
def show_cost(
    request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, endpoint_id: str
) -> Response:
    """What it cost this month."""
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
        bill = endpointcosts.read_costs(session, viewer.scope, parse_id(endpoint_id))
    context = framed(platform, viewer, endpoint=endpoint, tab="cost", bill=bill)
    return pages.respond(request, "endpoints/cost.html", context)


@router.get("/endpoints/{endpoint_id}/replicas")
def show_replicas(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    endpoint_id: str,
    cursor: Cursor = None,
) -> Response:
    """Every replica it has or had."""
    id_ = parse_id(endpoint_id)
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, id_)
        found, older = views.list_replicas(session, viewer.scope, id_, PageRequest(PAGE_SIZE, cursor or None))
    context = framed(
        platform,
        viewer,
        endpoint=endpoint,
        tab="events",
        replicas=found,
        older=_url(request.url.path, cursor=older) if older else "",
        first=request.url.path if cursor else "",
    )
    return pages.respond(request, "endpoints/replicas.html", context)


@router.post("/endpoints/{endpoint_id}/delete", dependencies=[FromOurPage])
def delete_endpoint(
    request: Request, viewer: LoggedIn, pages: Pages, back: Back, endpoint_id: str, typed: Typed
) -> Response:
    """Ask for its deletion, once its name was typed."""
    viewer.require("write")
    id_: UUID = parse_id(endpoint_id)
    with back.tenant(viewer) as session:
        name = service.get_endpoint(session, viewer.scope, id_).endpoint.name
        same = typed.get("typed", "").strip() == name
        if same:
            service.request_deletion(session, viewer, id_)
    if not same:
        said = pages.say(request, "Nothing was deleted: the name typed was not %(name)s.", name=name)
        return flash.go_on(request, f"/endpoints/{id_}", said)
    said = pages.say(request, "Endpoint %(name)s is being deleted. It answers nobody any more.", name=name)
    return flash.go_on(request, f"/endpoints/{id_}", said)
