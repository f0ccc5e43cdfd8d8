"""Compressing a model version: a form with the price before the button."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backend.compression_jobs import service as compression
from backend.compression_jobs.errors import DatasetVersionNeeded
from backend.compression_jobs.schemas import CompressionJobCreate
from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.datasets.errors import DatasetVersionNotFound
from backend.fleet.errors import InstanceTypeUnknown
from backend.jobs.errors import JobNameTaken
from backend.registry import service as registry
from backend.registry.errors import ModelNameTaken
from frontend import flash
from frontend.backstage import Backstage
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import Platform, compress, modelversions

router = APIRouter(prefix="/models/versions/{version_id}/compress")
FIELDS: dict[type[DomainError], str] = {
    JobNameTaken: "name",
    ModelNameTaken: "model_name",
    InstanceTypeUnknown: "instance_type",
    DatasetVersionNotFound: "dataset_version_id",
    DatasetVersionNeeded: "dataset_version_id",
}
"""Where an error of the start belongs."""


@router.get("")
def show_form(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str
) -> Response:
    """The form with its defaults."""
    viewer.require("write")
    return _page(request, pages, platform, back, viewer, version_id, Form())


@router.post("", dependencies=[FromOurPage])
def start(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str, typed: Typed
) -> Response:
    """Start it, or show the form again with what is wrong."""
    viewer.require("write")
    form = _parsed(back, viewer, version_id, typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                job = compression.start_compression(session, viewer, form.request)
                path, name = f"/training/{job.id}", job.name
            return flash.go_on(request, path, pages.say(request, "%(name)s is queued.", name=name))
        except DomainError as error:
            error.extra.setdefault("field", FIELDS.get(type(error), ""))
            form.refuse(error)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _page(request, pages, platform, back, viewer, version_id, form, status=status)


@router.post("/estimate", dependencies=[FromOurPage])
def refresh_estimate(
    request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, version_id: str, typed: Typed
) -> Response:
    """Time and price as the form stands, and the same start for a terminal."""
    viewer.require("write")
    form = _parsed(back, viewer, version_id, typed)
    return pages.respond(request, "models/compress_end.html", _end(request, back, viewer, version_id, form))


def _parsed(back: Backstage, viewer: Principal, version_id: str, typed: dict[str, str]) -> Form[CompressionJobCreate]:
    """What was typed, for this version of this project whatever the form said."""
    with back.tenant(viewer) as session:
        version = registry.get_version(session, viewer.scope, parse_id(version_id))
        model = registry.get_model(session, viewer.scope, version.model_id)
    own = {"project_id": str(model.project_id), "model_version_id": str(version.id)}
    return parse(CompressionJobCreate, {**typed, **own})


def _page(
    request: Request,
    pages: Renderer,
    platform: Platform,
    back: Backstage,
    viewer: Principal,
    version_id: str,
    form: Form[CompressionJobCreate],
    *,
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    with back.tenant(viewer) as session:
        version = registry.get_version(session, viewer.scope, parse_id(version_id))
        head = modelversions.read_head(session, viewer, version)
        choices = compress.choices(session, viewer, head)
        default = compress.defaults(session, viewer, head)
    shown = form if form.values else parse(CompressionJobCreate, default)
    context = framed(
        platform,
        viewer,
        version=head,
        choices=choices,
        default=default,
        advanced=any(name and name not in compress.BASIC for name in form.errors),
        **_end(request, back, viewer, version_id, shown),
    )
    return pages.respond(request, "models/compress.html", context | {"form": shown}, status_code=status)


def _end(
    request: Request, back: Backstage, viewer: Principal, version_id: str, form: Form[CompressionJobCreate]
) -> dict[str, Any]:
    with back.tenant(viewer) as session:
        expected = compress.estimate(session, viewer, form.values)
    base = str(request.base_url).rstrip("/")
    return {
        "version_id": version_id,
        "form": form,
        "expected": expected,
        "snippets": compress.snippets(base, form),
    }
