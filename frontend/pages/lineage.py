"""Lineage: what something was made of and what was made of it, drawn."""

from typing import Annotated, get_args

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.errors import RouteNotFound
from backend.lineage.schemas import Kind
from backend.lineage.service import MOST_NODES
from frontend.pages.common import Back, LoggedIn, Pages, Services, framed
from frontend.views import lineage as views

router = APIRouter()

USUAL_NODES = 120
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}


@router.get("/lineage/{kind}/{identity}")
def show_lineage(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    kind: str,
    identity: str,
    whole: Annotated[bool, Query()] = False,
) -> Response:
    """The lineage of one thing; `whole` shows as much of it as there may be."""
    viewer.require("read")
    if kind not in KINDS:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    limit = MOST_NODES if whole else USUAL_NODES
    with back.tenant(viewer) as session:
        picture = views.read_picture(session, viewer, KINDS[kind], identity, limit=limit)
    context = framed(platform, viewer, picture=picture, whole=whole, width=views.BOX_WIDTH, height=views.BOX_HEIGHT)
    return pages.respond(request, "lineage/lineage.html", context)
