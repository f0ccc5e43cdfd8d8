"""Models: the list, one model with its versions and what they cost and bring, its description."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.registry import service as registry
from backend.registry.models import Model
from backend.registry.schemas import ModelUpdate
from frontend import flash
from frontend.figures import document
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import models as views

router = APIRouter()
Word = Annotated[str, Query(max_length=200)]
Cursor = Annotated[str, Query(max_length=2000)]
FIRST_STEPS = """modelyard train first-digits --project {project} --dataset digits:1 --model digits"""


@router.get("/models")
def list_models(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    project: Word = "",
    text: Word = "",
    cursor: Cursor = "",
) -> Response:
    """Models, newest first; for htmx, the table alone."""
    words = text.strip()
    chosen = parse_id(project) if project else None
    with back.tenant(viewer) as session:
        found = views.list_models(session, viewer.scope, project=chosen, text=words or None, cursor=cursor or None)
    context: dict[str, Any] = {"found": found, "project": project, "text": words, "cursor": cursor, "url": _url}
    if "HX-Request" not in request.headers:
        context["first_steps"] = FIRST_STEPS.format(project=project or "…")
        return pages.respond(request, "models/list.html", framed(platform, viewer, **context))
    response = pages.respond(request, "models/list.html", {**context, "first_steps": ""}, block="models")
    response.headers["HX-Push-Url"] = _url(project, words)
    return response


def _url(project: str, text: str, cursor: str = "") -> str:
    """The list's address."""
    given = {name: value for name, value in (("project", project), ("text", text), ("cursor", cursor)) if value}
    return "/models" + (f"?{urlencode(given)}" if given else "")


@router.get("/models/{model_id}")
def show_model(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    model_id: str,
    by: Word = "size",
    cursor: Cursor = "",
) -> Response:
    """One model: its versions, and what accuracy costs in size or time."""
    with back.tenant(viewer) as session:
        model = registry.get_model(session, viewer.scope, parse_id(model_id))
        shown = views.model_page(session, viewer.scope, model, cursor=cursor or None)
    by = "latency" if by == "latency" else "size"
    return pages.respond(
        request, "models/model.html", framed(platform, viewer, model=shown, by=by, cursor=cursor, form=_edit(model))
    )


@router.get("/models/{model_id}/pareto")
def draw_pareto(
    request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, model_id: str, by: Word = "size"
) -> Response:
    """The chart's content: accuracy against size or latency over the versions."""
    with back.tenant(viewer) as session:
        model = registry.get_model(session, viewer.scope, parse_id(model_id))
        lines = views.compared(session, viewer.scope, model)
    figure = views.pareto(lines, by="latency" if by == "latency" else "size", words=_words(request, pages, by))
    return Response(document(figure), media_type="application/json")


def _words(request: Request, pages: Renderer, by: str) -> views.Words:
    across = pages.text(request, "Latency" if by == "latency" else "Size")
    return views.Words(
        version=pages.text(request, "Version"),
        on_front=pages.text(request, "Best trade-off"),
        others=pages.text(request, "Other versions"),
        accuracy=pages.text(request, "Accuracy"),
        across=across,
        note=pages.say(
            request,
            "Each point is a version. Diamonds are the best trade-offs: no other version is at least as accurate with "
            "less %(what)s.",
            what=across.lower(),
        ),
    )


def _edit(model: Model) -> Form[ModelUpdate]:
    tags = "\n".join(f"{key}={value}" for key, value in model.tags.items())
    return Form(values={"description": model.description, "tags:lines": tags})


@router.post("/models/{model_id}/edit", dependencies=[FromOurPage])
def edit_model(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, model_id: str, typed: Typed
) -> Response:
    """Change description and tags; what is emptied is gone."""
    viewer.require("write")
    form = parse(ModelUpdate, typed)
    with back.tenant(viewer) as session:
        model = registry.get_model(session, viewer.scope, parse_id(model_id))
        if form.request is not None:
            description, tags = form.request.description or "", form.request.tags or {}
            registry.update_model(session, viewer, model.id, description=description, tags=tags)
            return flash.go_on(
                request, f"/models/{model.id}", pages.say(request, "%(name)s was changed.", name=model.name)
            )
        shown = views.model_page(session, viewer.scope, model, cursor=None)
    context = framed(platform, viewer, model=shown, by="size", cursor="", form=form)
    return pages.respond(request, "models/model.html", context, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)
