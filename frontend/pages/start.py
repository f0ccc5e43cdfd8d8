"""The start page, and the search field above every page."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from frontend.pages.common import Back, LoggedIn, Pages, Services, framed
from frontend.views.start import Start, read_start

router = APIRouter()
STOP_POLLING = 286


@router.get("/")
def show_start(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back) -> Response:
    """What runs, what needs attention, what it costs, what to do first."""
    if request.app.state.backstage is None:  # a gallery of templates has no services behind it
        return RedirectResponse("/training", HTTPStatus.SEE_OTHER)
    with back.tenant(viewer) as session:
        start = read_start(session, viewer)
    polled = "HX-Request" in request.headers
    if polled:
        code = HTTPStatus.OK if _moves(start) else STOP_POLLING
        return pages.respond(request, "start/start.html", _context(start), block="now", status_code=code)
    return pages.respond(request, "start/start.html", framed(platform, viewer, **_context(start)))


def _moves(start: Start) -> bool:
    """Whether anything on the page changes by itself soon."""
    return bool(start.running) or any(one.status != "in_service" for one in start.endpoints)


def _context(start: Start) -> dict[str, object]:
    return {"start": start, "live": _moves(start)}


@router.get("/search")
def search(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    text: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Resources by name, under the search field."""
    words = text.strip()
    groups = platform.search(viewer, words) if words else []
    return pages.respond(request, "components/search.html", {"words": words, "groups": groups})
