"""Freezing a dataset into a version: the form, what it would give, the act."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.datasets import service
from backend.datasets.schemas import VersionCreate
from frontend import flash
from frontend.backstage import Backstage
from frontend.forms import MAX_FIELDS, OUR_OWN, Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.pages.data import dataset_view

router = APIRouter()

API_EXAMPLE = """curl {base}/api/v1/datasets/{dataset}/versions \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"splits": {{"train": 0.8, "validation": 0.1, "test": 0.1}}, "seed": 0, "stratify": true}}'"""
CLI_EXAMPLE = "modelyard datasets freeze {name} --split train=0.8 --split validation=0.1 --split test=0.1 --seed 0"
SPLITS = ("train", "validation", "test")
NOTHING_TYPED = {"unit": "percent", "splits.train": "80", "splits.validation": "10", "splits.test": "10"}


def parse_split(typed: Mapping[str, str]) -> Form[VersionCreate]:
    """The form as the API's request: shares are typed as percentages, or as whole numbers of files."""
    given: dict[str, str] = {name: text for name, text in typed.items() if name != "unit"}
    wrong: dict[str, str] = {}
    for split in SPLITS:
        name = f"splits.{split}"
        text = given.pop(name, "").strip() or "0"
        try:
            given[f"{name}:json"] = _share(text, percent=typed.get("unit") != "files")
        except ValueError:
            wrong[name] = "Write a whole number." if typed.get("unit") == "files" else "Write a number."
    form = parse(VersionCreate, given)
    errors = {name.removesuffix(":json"): text for name, text in form.errors.items()} | wrong
    return Form(values=typed, errors=errors, request=None if errors else form.request)


def _share(text: str, *, percent: bool) -> str:
    """The number as JSON: a fraction or a count."""
    if not percent:
        return str(int(text))
    share = float(text) / 100
    if not 0 <= share <= 1:
        raise ValueError(text)
    return repr(share)


@router.get("/data/{dataset_id}/freeze")
def show_form(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, dataset_id: str
) -> Response:
    """The form, with the sizes that it gives."""
    viewer.require("write")
    return _page(request, viewer, pages, platform, back, dataset_id, parse_split(NOTHING_TYPED))


@router.get("/data/{dataset_id}/freeze/plan")
def show_plan(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, dataset_id: str) -> Response:
    """What the form would give, as it stands now; for htmx."""
    given = request.query_params.multi_items()[:MAX_FIELDS]
    typed = {name: text for name, text in given if name not in OUR_OWN}
    context = _planned(back, viewer, dataset_id, parse_split(typed))
    return pages.respond(request, "data/plan.html", context)


@router.post("/data/{dataset_id}/freeze", dependencies=[FromOurPage])
def freeze(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, dataset_id: str, typed: Typed
) -> Response:
    """Freeze the dataset's files, or show the form again with what is wrong."""
    viewer.require("write")
    form = parse_split(typed)
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
    if form.request:
        try:
            made = service.create_version(back.database, back.storage, viewer, UUID(dataset.id), form.request)
            said = pages.say(
                request, "Version %(number)s of %(name)s is frozen.", number=made.number, name=dataset.name
            )
            return flash.go_on(request, f"/data/versions/{made.id}", said)
        except DomainError as error:
            form.refuse(error)
    return _page(request, viewer, pages, platform, back, dataset_id, form)


def _planned(back: Backstage, viewer: Principal, dataset_id: str, form: Form[VersionCreate]) -> dict[str, Any]:
    """The sizes that the form gives, or in `refusal` why it gives none."""
    plan, refusal = None, ""
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        if form.request:
            try:
                plan = service.plan_version(session, viewer.scope, UUID(dataset.id), form.request)
            except DomainError as error:
                refusal = error.detail
    return {"dataset": dataset, "plan": plan, "refusal": refusal, "form": form}


def _page(
    request: Request,
    viewer: Principal,
    pages: Pages,
    platform: Services,
    back: Backstage,
    dataset_id: str,
    form: Form[VersionCreate],
) -> Response:
    planned = _planned(back, viewer, dataset_id, form)
    base = str(request.base_url).rstrip("/")
    context = framed(
        platform,
        viewer,
        **planned,
        api_example=API_EXAMPLE.format(base=base, dataset=dataset_id),
        cli_example=CLI_EXAMPLE.format(name=planned["dataset"].name),
    )
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "data/freeze.html", context, status_code=code)
