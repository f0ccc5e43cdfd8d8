"""Changing an endpoint: weights, variants, replicas. A change made from an outdated page is shown, not lost."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.endpoints import service
from backend.endpoints.errors import EndpointChanged
from backend.endpoints.schemas import ConfigWrite
from frontend import flash
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views import endpointforms as forms
from frontend.views import endpoints as views

router = APIRouter()


@router.get("/endpoints/{endpoint_id}/variants")
def ask(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, endpoint_id: str
) -> Response:
    """The split and the config, as they are asked for now."""
    with back.tenant(viewer) as session:
        context = _context(request, session, viewer, parse_id(endpoint_id))
    return pages.respond(request, "endpoints/variants.html", framed(platform, viewer, **context))


@router.post("/endpoints/{endpoint_id}/weights", dependencies=[FromOurPage])
def set_weights(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    endpoint_id: str,
    typed: Typed,
) -> Response:
    """Change the split; no replica is replaced."""
    viewer.require("write")
    id_ = parse_id(endpoint_id)
    form = parse(forms.WeightsForm, typed)
    conflict = False
    if form.request is not None:
        weights = {one.name: one.weight for one in form.request.variants}
        try:
            with back.tenant(viewer) as session:
                service.set_weights(session, viewer, id_, weights, seen=form.request.seen)
        except DomainError as error:
            conflict = isinstance(error, EndpointChanged)
            form.refuse(error)
        else:
            said = pages.say(request, "The weights were changed. Gateways follow within a second or two.")
            return flash.go_on(request, f"/endpoints/{id_}/variants", said)
    with back.tenant(viewer) as session:
        context = _context(request, session, viewer, id_, weights=form, conflict=conflict)
    code = HTTPStatus.CONFLICT if conflict else HTTPStatus.UNPROCESSABLE_ENTITY
    return pages.respond(request, "endpoints/variants.html", framed(platform, viewer, **context), status_code=code)


@router.post("/endpoints/{endpoint_id}/config/form", dependencies=[FromOurPage])
def redraw(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    back: Back,
    endpoint_id: str,
    typed: Typed,
    more: bool = False,
    less: Annotated[str, Query(max_length=2, pattern=r"^[0-9]*$")] = "",
) -> Response:
    """The config's form with another row, or one row less, or with the price of what is typed now."""
    viewer.require("write")
    values = forms.with_one_more(typed) if more else forms.without(typed, less) if less else typed
    form: Form[forms.ConfigForm] = Form(values=values)
    with back.tenant(viewer) as session:
        context = _context(request, session, viewer, parse_id(endpoint_id), config=form)
    block = "fields" if more or less else "estimate"
    return pages.respond(request, "endpoints/variants.html", {"viewer": viewer, **context}, block=block)


@router.post("/endpoints/{endpoint_id}/config", dependencies=[FromOurPage])
def set_config(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    endpoint_id: str,
    typed: Typed,
) -> Response:
    """Ask for another config: its replicas answer before the old ones stop."""
    viewer.require("write")
    id_ = parse_id(endpoint_id)
    form = parse(forms.ConfigForm, typed)
    conflict = False
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                service.set_config(session, viewer, id_, form.request.request(), seen=form.request.seen)
        except DomainError as error:
            conflict = isinstance(error, EndpointChanged)
            form.refuse(error)
        else:
            said = pages.say(
                request, "The change was taken. What answers now goes on until the new replicas are ready."
            )
            return flash.go_on(request, f"/endpoints/{id_}/variants", said)
    with back.tenant(viewer) as session:
        context = _context(request, session, viewer, id_, config=form, conflict=conflict)
    code = HTTPStatus.CONFLICT if conflict else HTTPStatus.UNPROCESSABLE_ENTITY
    return pages.respond(request, "endpoints/variants.html", framed(platform, viewer, **context), status_code=code)


def _context(
    request: Request,
    session: Session,
    viewer: Principal,
    endpoint_id: UUID,
    *,
    weights: Form[forms.WeightsForm] | None = None,
    config: Form[forms.ConfigForm] | None = None,
    conflict: bool = False,
) -> dict[str, Any]:
    """Both forms; one that was sent is shown as it was typed, made anew from the config that is wanted now."""
    endpoint = views.read_endpoint(session, viewer.scope, endpoint_id)
    wanted = endpoint.line.config
    values: Mapping[str, str] = forms.of_config(wanted)
    config_form = config or Form(values=values)
    weights_form = weights or Form(values=values)
    base = f"{str(request.base_url).rstrip('/')}/api/v1/endpoints/{endpoint.line.id}"
    split = [(one.name, one.weight_text) for one in wanted.variants]
    return {
        "endpoint": endpoint,
        "tab": "variants",
        "conflict": conflict,
        "weights": weights_form,
        "form": config_form,
        "rows": forms.rows(config_form.values),
        "choices": [(one.id, one.label) for one in views.choices(session, viewer.scope)],
        "shapes": [(one.name, one.label) for one in forms.shapes(session, viewer.scope)],
        "max_variants": forms.MAX_VARIANTS,
        "estimate": forms.estimate(session, config_form.values),
        "curl": forms.curl(
            "PATCH", f"{base}/weights", {"weights": {name: float(w) for name, w in split}}, seen=wanted.number
        ),
        "curl_config": forms.curl("PUT", f"{base}/config", _body(config_form.values), seen=wanted.number),
        "cli": forms.cli_weights(endpoint.line.name, split),
    }


def _body(typed: Mapping[str, str]) -> object:
    """What the config's form sends, as far as it can be read."""
    read = parse(ConfigWrite, {name: value for name, value in typed.items() if name != "seen"})
    return "…" if read.request is None else read.request.model_dump(mode="json")
