"""Endpoints: the list, one endpoint's tabs, and what those pages fetch while it lives."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.errors import RouteNotFound
from backend.core.pagination import PageRequest
from backend.endpoints import service, states
from backend.endpoints.repository import EndpointFilter
from frontend import figures, flash
from frontend.forms import Typed
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.pages.jobs import STOP_POLLING, Word
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import endpointcosts, endpointtraffic
from frontend.views import endpoints as views
from frontend.views.playground import snippets

router = APIRouter()

PAGE_SIZE = 50
HISTORY_SIZE = 25
Cursor = Annotated[str | None, Query(max_length=2000)]


def _url(path: str, **filters: str | None) -> str:
    """An address with the filters that are set."""
    given = {name: value for name, value in filters.items() if value}
    return path + (f"?{urlencode(given)}" if given else "")


def read_filters(text: Word = None, status: Word = None, project: Word = None) -> dict[str, str]:
    """Filters from the URL; an empty one filters nothing."""
    given = {"text": (text or "").strip(), "status": status, "project": project}
    return {name: value for name, value in given.items() if value}


@router.get("/endpoints")
def list_endpoints(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    filters: Annotated[dict[str, str], Depends(read_filters)],
    cursor: Cursor = None,
) -> Response:
    """The list; for htmx, its table alone. Where nothing moves it is not asked for again."""
    project = filters.get("project")
    where = EndpointFilter(
        project_id=parse_id(project) if project else None,
        status=filters.get("status"),
        name_contains=filters.get("text"),
    )
    with back.tenant(viewer) as session:
        page = PageRequest(limit=PAGE_SIZE, cursor=cursor or None)
        found = views.list_endpoints(session, viewer.scope, where, page)
    live = any(not one.settled for one in found.endpoints)
    context: dict[str, Any] = {
        "found": found,
        "filters": filters,
        "filtered": bool(filters or cursor),
        "statuses": list(states.ENDPOINT),
        "live": live,
        "here": _url("/endpoints", **filters, cursor=cursor),
        "first": _url("/endpoints", **filters) if cursor else "",
        "older": _url("/endpoints", **filters, cursor=found.next_cursor) if found.next_cursor else "",
    }
    if "HX-Request" not in request.headers:
        return pages.respond(request, "endpoints/list.html", framed(platform, viewer, **context))
    polled = request.headers.get("HX-Trigger") == "endpoints"
    code = STOP_POLLING if polled and not live else HTTPStatus.OK
    context["viewer"] = viewer
    response = pages.respond(request, "endpoints/list.html", context, block="endpoints", status_code=code)
    if not polled:
        response.headers["HX-Push-Url"] = _url("/endpoints", **filters)
    return response


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
    code = snippets(endpoint.line.name, address, endpoint.signature)
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
