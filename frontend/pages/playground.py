"""The playground: a person asks an endpoint by hand, through a gateway and metered, as everybody does."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.endpoints.invoking import invoke
from backend.identity.sessionkeys import open_session_key
from frontend import security
from frontend.backstage import Backstage
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import endpoints as views
from frontend.views.endpoints import EndpointPage
from frontend.views.playground import PlaygroundCall, example, picture, read_answer, tensors

router = APIRouter()


@router.get("/endpoints/{endpoint_id}/playground")
def ask(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, endpoint_id: str
) -> Response:
    """The playground. Whoever may call gets a key now, so that the gateways know it before the first call."""
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
        if viewer.allows("invoke") and not endpoint.deleting:
            open_session_key(session, back.security, viewer, request.cookies[security.SESSION_COOKIE])
    form: Form[PlaygroundCall] = Form(values={"body": example(endpoint.signature)})
    return _page(request, pages, framed(platform, viewer, endpoint=endpoint, form=form), HTTPStatus.OK)


@router.post("/endpoints/{endpoint_id}/playground", dependencies=[FromOurPage])
def call(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    endpoint_id: str,
    typed: Typed,
) -> Response:
    """Ask the endpoint; for htmx, the answer alone."""
    viewer.require("invoke")
    form = parse(PlaygroundCall, typed)
    answer: dict[str, Any] = {}
    with back.tenant(viewer) as session:
        endpoint = views.read_endpoint(session, viewer.scope, parse_id(endpoint_id))
    if form.request is not None:
        answer = _ask(request, back, viewer, endpoint, form.request)
    if "HX-Request" in request.headers:
        context = {"viewer": viewer, "endpoint": endpoint, "form": form, **answer}
        return pages.respond(request, "endpoints/answer.html", {"answer": None, **context})
    code = HTTPStatus.OK if form.request is not None else HTTPStatus.UNPROCESSABLE_ENTITY
    return _page(request, pages, framed(platform, viewer, endpoint=endpoint, form=form, **answer), code)


def _ask(
    request: Request, back: Backstage, viewer: Principal, endpoint: EndpointPage, wanted: PlaygroundCall
) -> dict[str, Any]:
    with back.tenant(viewer) as session:
        key = open_session_key(session, back.security, viewer, request.cookies[security.SESSION_COOKIE])
    answer = invoke(
        back.settings.gateway,
        key.token,
        endpoint.line.name,
        wanted.body.encode(),
        variant=wanted.variant,
        sticky_key=wanted.sticky_key,
    )
    return {"answer": read_answer(answer, endpoint.signature)}


def _page(request: Request, pages: Renderer, context: dict[str, Any], code: int) -> Response:
    signature = context["endpoint"].signature
    every = {
        "answer": None,
        "tab": "playground",
        "picture": picture(signature),
        "inputs": tensors(signature, "inputs"),
        **context,
    }
    return pages.respond(request, "endpoints/playground.html", every, status_code=code)
