"""Models: the list, one model with its versions and what they cost and bring, its description."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from backend.registry import service as registry
from backend.registry.errors import ModelVersionNotFound
from backend.registry.schemas import ModelUpdate, Review
from frontend.figures import document
from frontend.forms import Form, Typed, parse, typed_lines
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Back, Chosen, Desk, FromOurPage, LoggedIn, Pages
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import models as views
from frontend.views import pareto

router = APIRouter()
PAGE_SIZE = 50
Word = Annotated[str, Query(max_length=200)]
MODELS = Lists("text", "project", sorts=("name", "created_at"), usual="-created_at")
VERSIONS = Lists("by", sorts=("number",), usual="-number")
FIRST_STEPS = """modelyard train first-digits --project {project} --dataset digits:1 --model digits"""


@router.get("/models")
def list_models(desk: AtDesk, listing: Annotated[Listing, Depends(MODELS)]) -> Response:
    """Models, newest first; for htmx, the table alone."""
    project = listing.id("project")
    with desk.session() as session:
        page = listing.page(PAGE_SIZE)
        found = views.list_models(session, desk.scope, page, project=project, text=listing["text"] or None)
    steps = FIRST_STEPS.format(project=listing["project"] or "…")
    return desk.show_list("models/list.html", "models", listing, found.next_cursor, found=found, first_steps=steps)


@router.get("/models/{model_id}")
def show_model(desk: AtDesk, model_id: str, listing: Annotated[Listing, Depends(VERSIONS)]) -> Response:
    """One model: its versions, and what accuracy costs in size or time; for htmx, the versions alone."""
    return _show(desk, model_id, listing, Form())


def _show(desk: Desk, model_id: str, listing: Listing, form: Form[ModelUpdate]) -> Response:
    with desk.session() as session:
        model = registry.get_model(session, desk.scope, parse_id(model_id))
        shown = views.model_page(session, desk.scope, model, listing.page(PAGE_SIZE))
        form.values = form.values or {"description": model.description, "tags:lines": typed_lines(model.tags)}
    return desk.show_list(
        "models/model.html",
        "versions",
        listing,
        shown.next_cursor,
        model=shown,
        by=listing["by"] if listing["by"] in pareto.COSTS else "size",
        form=form,
        status_code=HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK,
    )


@router.post("/models/{model_id}/approve", dependencies=[FromOurPage])
def approve_versions(desk: AtDesk, model_id: str, chosen: Chosen, typed: Typed) -> Response:
    """Approve the chosen versions, with one reason."""
    return _review(desk, model_id, chosen, typed, to="approved", done=desk.say("It was approved."))


@router.post("/models/{model_id}/reject", dependencies=[FromOurPage])
def reject_versions(desk: AtDesk, model_id: str, chosen: Chosen, typed: Typed) -> Response:
    """Reject the chosen versions, with one reason."""
    return _review(desk, model_id, chosen, typed, to="rejected", done=desk.say("It was rejected."))


def _review(desk: Desk, model_id: str, chosen: list[str], typed: dict[str, str], *, to: str, done: str) -> Response:
    desk.viewer.require("write")
    form = parse(Review, {"reason": typed.get("reason", "")})
    if form.request is None:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "This address or form has a wrong value.")
    reason = form.request.reason
    with desk.session() as session:
        owner = parse_id(model_id)
        model = registry.get_model(session, desk.scope, owner).name

    def name(session: Session, version_id: UUID) -> str:
        version = registry.get_version(session, desk.scope, version_id)
        if version.model_id != owner:
            raise ModelVersionNotFound(f"there is no model version {version_id}")
        return f"{model} v{version.number}"

    def review(version_id: UUID) -> None:
        with desk.session() as session:
            registry.review_version(session, desk.viewer, version_id, to=to, reason=reason)

    return desk.show_outcomes(desk.each(chosen, name=name, act=review, done=done), f"/models/{model_id}")


@router.get("/models/{model_id}/pareto")
def draw_pareto(
    request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, model_id: str, by: Word = "size"
) -> Response:
    """The chart's content: accuracy against size, latency or throughput over the versions."""
    with back.tenant(viewer) as session:
        model = registry.get_model(session, viewer.scope, parse_id(model_id))
        lines = views.compared(session, viewer.scope, model)
    by = by if by in pareto.COSTS else "size"
    figure = pareto.draw(lines, by=by, words=_words(request, pages, by))
    return Response(document(figure), media_type="application/json")


def _words(request: Request, pages: Renderer, by: str) -> pareto.Words:
    across = pages.text(request, {"latency": "Latency", "throughput": "Throughput"}.get(by, "Size"))
    return pareto.Words(
        version=pages.text(request, "Version"),
        on_front=pages.text(request, "Best trade-off"),
        others=pages.text(request, "Other versions"),
        accuracy=pages.text(request, "Accuracy"),
        across=across,
        note=pages.text(
            request,
            "Each point is a version. Diamonds are the best trade-offs: no other version is at least as accurate with "
            "more throughput.",
        )
        if by == "throughput"
        else pages.say(
            request,
            "Each point is a version. Diamonds are the best trade-offs: no other version is at least as accurate with "
            "less %(what)s.",
            what=across.lower(),
        ),
    )


@router.post("/models/{model_id}/edit", dependencies=[FromOurPage])
def edit_model(desk: AtDesk, model_id: str, typed: Typed) -> Response:
    """Change description and tags; what is emptied is gone."""
    desk.viewer.require("write")
    form = parse(ModelUpdate, typed)
    wanted = form.request
    if wanted is None:
        return _show(desk, model_id, replace(VERSIONS(desk.request), path=f"/models/{model_id}"), form)
    with desk.session() as session:
        words, tags = wanted.description or "", wanted.tags or {}
        model = registry.update_model(session, desk.viewer, parse_id(model_id), description=words, tags=tags)
        said = desk.say("%(name)s was changed.", name=model.name)
    return desk.go_on(f"/models/{model_id}", said)
