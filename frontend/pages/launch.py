"""Starting training jobs: a form with the price before the button, prefilled from a job, and a job once more."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Form as FormField
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError, RouteNotFound
from backend.datasets.errors import DatasetVersionNotFound
from backend.fleet.errors import InstanceTypeUnknown
from backend.jobs import service as jobs
from backend.jobs.errors import JobNameTaken
from backend.projects.errors import ProjectNotFound
from backend.registry.errors import ModelNameTaken
from backend.training_jobs import service as training
from backend.training_jobs.kind import KIND
from backend.training_jobs.schemas import TrainingJobCreate
from frontend import flash
from frontend.backstage import Backstage
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import Platform, again, launch

router = APIRouter()
FIELDS: dict[type[DomainError], str] = {
    JobNameTaken: "name",
    ModelNameTaken: "model_name",
    DatasetVersionNotFound: "dataset_version_id",
    InstanceTypeUnknown: "instance_type",
    ProjectNotFound: "project_id",
}
"""Where an error of the start belongs."""
Given = Annotated[str, Query(max_length=200)]


@router.get("/training/new")
def show_form(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    job: Annotated[str, Query(alias="from", max_length=200)] = "",
    project: Given = "",
    dataset_version: Given = "",
    algorithm: Given = "",
) -> Response:
    """The form, empty or as another job was started."""
    viewer.require("write")
    copied = ""
    values = {"project_id": project, "dataset_version_id": dataset_version, "algorithm": algorithm}
    if job:
        with back.tenant(viewer) as session:
            source = jobs.get_job(session, viewer.scope, parse_id(job))
            if source.kind != KIND:
                raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
            values = launch.values_of(source, jobs.next_name(session, viewer.scope, source.name))
            copied = source.name
    form: Form[TrainingJobCreate] = Form(values={key: value for key, value in values.items() if value})
    return _page(request, pages, platform, back, viewer, form, copied=copied)


@router.post("/training/new", dependencies=[FromOurPage])
def start(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Start it, or show the form again with what is wrong."""
    viewer.require("write")
    form = parse(TrainingJobCreate, typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                made = training.start_training(session, viewer, form.request)
                path, name = f"/training/{made.id}", made.name
            return flash.go_on(request, path, pages.say(request, "%(name)s is queued.", name=name))
        except DomainError as error:
            _refuse(form, error)
    return _page(request, pages, platform, back, viewer, form, status=HTTPStatus.UNPROCESSABLE_ENTITY)


@router.post("/training/new/estimate", dependencies=[FromOurPage])
def refresh_estimate(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, typed: Typed) -> Response:
    """What the job would take as the form stands, and the same start for a terminal."""
    viewer.require("write")
    form = parse(TrainingJobCreate, typed)
    return pages.respond(request, "training/launch_end.html", _end(request, back, viewer, form, typed))


@router.post("/training/{job_id}/again", dependencies=[FromOurPage])
def run_again(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    back: Back,
    job_id: str,
    name: Annotated[str, FormField(max_length=200)] = "",
) -> Response:
    """The same job once more, under a new name."""
    viewer.require("write")
    with back.tenant(viewer) as session:
        source = jobs.get_job(session, viewer.scope, parse_id(job_id))
        made = again.run_again(session, viewer, source, name)
        path, said = f"/training/{made.id}", made.name
    return flash.go_on(request, path, pages.say(request, "%(name)s is queued.", name=said))


def _refuse(form: Form[TrainingJobCreate], error: DomainError) -> None:
    error.extra.setdefault("field", FIELDS.get(type(error), ""))
    form.refuse(error)


def _page(
    request: Request,
    pages: Renderer,
    platform: Platform,
    back: Backstage,
    viewer: Principal,
    form: Form[TrainingJobCreate],
    *,
    copied: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    context = framed(platform, viewer)
    projects = [(one.id, one.name) for one in context["shell"].projects]
    with back.tenant(viewer) as session:
        choices = launch.choices(
            session, viewer, projects, partial(pages.say, request), algorithm=form.values.get("algorithm", "")
        )
        fresh = jobs.next_name(session, viewer.scope, f"{choices.dataset}-0") if choices.dataset else ""
    first = _first_choice(choices, fresh) if not form.values.get("name") and not form.errors else {}
    form.values = {**first, **form.values}
    context |= {
        "choices": choices,
        "limits": launch.limits(),
        "advanced": launch.opens_advanced(form),
        "copied": copied,
        **_end(request, back, viewer, form, form.values),
    }
    return pages.respond(request, "training/launch.html", context, status_code=status)


def _first_choice(choices: launch.Choices, name: str) -> dict[str, str]:
    """What stands in the fields before anything is typed."""
    return {
        "project_id": choices.projects[0][0] if choices.projects else "",
        "dataset_version_id": choices.versions[0][0] if choices.versions else "",
        "name": name,
        "model_name": choices.dataset,
    }


def _end(
    request: Request, back: Backstage, viewer: Principal, form: Form[TrainingJobCreate], typed: Mapping[str, str]
) -> dict[str, Any]:
    wanted = launch.as_estimate(typed)
    expected = None
    if wanted is not None:
        try:
            with back.tenant(viewer) as session:
                expected = launch.Expected.of(training.estimate_training(session, viewer.scope, wanted), wanted)
        except DomainError:  # a choice that is gone: the start says which
            expected = None
    base = str(request.base_url).rstrip("/")
    return {"form": form, "expected": expected, "snippets": launch.snippets(base, form, typed)}
