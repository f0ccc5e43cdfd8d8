"""A new endpoint: the form, its rows of variants, its price before the button."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.endpoints import service
from backend.endpoints.schemas import EndpointCreate
from frontend import flash
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.pages.jobs import Word
from frontend.views import endpointforms as forms
from frontend.views import endpoints as views

router = APIRouter()
VARIANT_NAME = "main"


@router.get("/endpoints/new")
def ask(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    project: Word = None,
    version: Annotated[str | None, Query(max_length=36, description="a model version to begin with")] = None,
) -> Response:
    """The empty form, with what can be guessed."""
    viewer.require("write")
    with back.tenant(viewer) as session:
        context = _offer(session, viewer)
        offered = views.choices(session, viewer.scope)
        chosen = next((one for one in offered if one.id == version), offered[0] if offered else None)
        values = {
            "project_id": project or (chosen.project_id if chosen else ""),
            "instance_type": context["shapes"][0][0] if context["shapes"] else "",
            "replica_count": "1",
            "processes": "1",
            "variants.0.name": VARIANT_NAME,
            "variants.0.model_version_id": chosen.id if chosen else "",
            "variants.0.weight": "100",
        }
        context |= _shown(request, session, values, context)
    form: Form[EndpointCreate] = Form(values=values)
    return pages.respond(request, "endpoints/new.html", framed(platform, viewer, form=form, **context))


@router.post("/endpoints/new/form", dependencies=[FromOurPage])
def redraw(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    back: Back,
    typed: Typed,
    more: bool = False,
    less: Annotated[str, Query(max_length=2, pattern=r"^[0-9]*$")] = "",
) -> Response:
    """The form with another row, or one row less, or with the price of what is typed now."""
    viewer.require("write")
    values = forms.with_one_more(typed) if more else forms.without(typed, less) if less else typed
    with back.tenant(viewer) as session:
        context = _offer(session, viewer)
        context |= _shown(request, session, values, context)
    form: Form[EndpointCreate] = Form(values=values)
    block = "fields" if more or less else "estimate"
    return pages.respond(request, "endpoints/new.html", {"viewer": viewer, "form": form, **context}, block=block)


@router.post("/endpoints/new", dependencies=[FromOurPage])
def create(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Create it, or show the form again with what is wrong."""
    viewer.require("write")
    form = parse(EndpointCreate, typed)
    body = form.request
    if body is not None:
        try:
            with back.tenant(viewer) as session:
                made = service.create_endpoint(
                    session,
                    viewer,
                    project_id=body.project_id,
                    name=body.name,
                    wanted=body.request(),
                    max_body_bytes=body.max_body_bytes,
                    tags=body.tags,
                    protected=body.protected,
                )
                path = f"/endpoints/{made.id}"
        except DomainError as error:
            form.refuse(error)
        else:
            said = pages.say(request, "Endpoint %(name)s was created. Its replicas are being started.", name=body.name)
            return flash.go_on(request, path, said)
    with back.tenant(viewer) as session:
        context = _offer(session, viewer)
        context |= _shown(request, session, typed, context)
    return pages.respond(
        request,
        "endpoints/new.html",
        framed(platform, viewer, form=form, **context),
        status_code=HTTPStatus.UNPROCESSABLE_ENTITY,
    )


def _offer(session: Session, viewer: Principal) -> dict[str, Any]:
    """What the form's lists hold: pairs of value and label."""
    return {
        "choices": [(one.id, one.label) for one in views.choices(session, viewer.scope)],
        "shapes": [(one.name, one.label) for one in forms.shapes(session, viewer.scope)],
        "projects": [(one.id, one.name) for one in views.project_links(session, viewer.scope)],
        "max_variants": forms.MAX_VARIANTS,
    }


def _shown(request: Request, session: Session, typed: Mapping[str, str], offer: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from what is typed: rows, price, and the same for machines."""
    versions = {id_: label.split(" ")[0] for id_, label in offer["choices"]}
    return {
        "rows": forms.rows(typed),
        "estimate": forms.estimate(session, typed),
        "curl": forms.curl_create(str(request.base_url).rstrip("/"), typed),
        "cli": forms.cli_create(typed, dict(offer["projects"]), versions),
    }
