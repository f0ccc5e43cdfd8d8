"""One model version: overview, evaluation, compression report, files; approve, reject, tag."""

from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.storage import ObjectMissing
from backend.registry import service as registry
from backend.registry.errors import EvaluationNotFound
from backend.registry.evaluation import read_evaluation
from backend.registry.models import ModelVersion
from backend.registry.schemas import Review, VersionUpdate
from frontend import flash
from frontend.backstage import Backstage
from frontend.figures import Figure, document
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import Platform
from frontend.views import modelversions as views

router = APIRouter(prefix="/models/versions/{version_id}")
Act = Literal["approve", "reject"]


def _load(back: Backstage, viewer: Principal, version_id: str) -> tuple[ModelVersion, views.VersionHead]:
    with back.tenant(viewer) as session:
        version = registry.get_version(session, viewer.scope, parse_id(version_id))
        return version, views.read_head(session, viewer, version)


@router.get("")
def show_overview(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str
) -> Response:
    """How it stands, what it takes and gives, where it comes from."""
    return _overview(request, viewer, pages, platform, back, version_id)


def _overview(
    request: Request,
    viewer: Principal,
    pages: Renderer,
    platform: Platform,
    back: Backstage,
    version_id: str,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    refused: Act | None = None,
    review: Form[Review] | None = None,
    tags: Form[VersionUpdate] | None = None,
) -> Response:
    with back.tenant(viewer) as session:
        version = registry.get_version(session, viewer.scope, parse_id(version_id))
        head = views.read_head(session, viewer, version)
        shown = views.read_overview(session, viewer, version)
    typed = {"tags:lines": "\n".join(f"{key}={value}" for key, value in shown.tags.items())}
    base = str(request.base_url).rstrip("/")
    context = framed(
        platform,
        viewer,
        version=head,
        shown=shown,
        refused=refused,
        review=review or Form(),
        tags=tags or Form(values=typed),
        curl=f'curl {base}/api/v1/model-versions/{head.id} -H "Authorization: Bearer $MODELYARD_API_KEY"',
        command=f"modelyard models show {head.model_name}:{head.number}",
    )
    return pages.respond(request, "models/overview.html", context, status_code=status)


@router.get("/evaluation")
def show_evaluation(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str
) -> Response:
    """What it gets right and wrong on images it was not trained on."""
    version, head = _load(back, viewer, version_id)
    try:
        shown = views.evaluation_page(read_evaluation(back.storage, version), version)
    except (EvaluationNotFound, ObjectMissing):
        shown = None
    return pages.respond(request, "models/evaluation.html", framed(platform, viewer, version=head, shown=shown))


@router.get("/confusion")
def draw_confusion(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, version_id: str) -> Response:
    """The confusion matrix; empty where there is none."""
    version, _ = _load(back, viewer, version_id)
    try:
        found = read_evaluation(back.storage, version)
    except (EvaluationNotFound, ObjectMissing):
        return Response(document(Figure(kind="matrix", unit="count", series=[])), media_type="application/json")
    figure = views.confusion_figure(
        found,
        truth=pages.text(request, "Truth"),
        prediction=pages.text(request, "Prediction"),
        note=pages.say(
            request,
            "%(right)s of %(images)s images are right, on the diagonal. Rows: the truth; columns: what the model says.",
            right=found.images - found.mistake_count,
            images=found.images,
        ),
    )
    return Response(document(figure), media_type="application/json")


@router.get("/report")
def show_report(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str
) -> Response:
    """What the gate of a compression measured."""
    _, head = _load(back, viewer, version_id)
    return pages.respond(request, "models/report.html", framed(platform, viewer, version=head))


@router.get("/files")
def show_files(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str
) -> Response:
    """Its files, with their digests."""
    version, head = _load(back, viewer, version_id)
    base = str(request.base_url).rstrip("/")
    context: dict[str, Any] = {
        "version": head,
        "files": sorted(registry.version_files(version), key=lambda one: one.name),
        "curl": f"curl -OJ {base}/api/v1/model-versions/{head.id}/files/model.onnx \\\n"
        '  -H "Authorization: Bearer $MODELYARD_API_KEY"',
        "command": f"modelyard models download {head.model_name}:{head.number}",
    }
    return pages.respond(request, "models/files.html", framed(platform, viewer, **context))


@router.get("/files/{name:path}")
def download(viewer: LoggedIn, back: Back, version_id: str, name: str) -> Response:
    """One file of the artifact. Raises ArtifactFileNotFound."""
    with back.tenant(viewer) as session:
        version = registry.get_version(session, viewer.scope, parse_id(version_id))
    file = registry.artifact_file(version, name)
    content = back.storage.stream_blob(viewer.organization_id, file.sha256)
    headers = {
        "Content-Length": str(file.size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2])}",
        "ETag": f'"{file.sha256}"',
    }
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)


@router.post("/approve", dependencies=[FromOurPage])
def approve(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str, typed: Typed
) -> Response:
    """Approve it, with a reason."""
    said = "%(name)s was approved."
    return _review(request, viewer, pages, platform, back, version_id, typed, act="approve", said=said)


@router.post("/reject", dependencies=[FromOurPage])
def reject(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str, typed: Typed
) -> Response:
    """Reject it, with a reason."""
    said = "%(name)s was rejected."
    return _review(request, viewer, pages, platform, back, version_id, typed, act="reject", said=said)


def _review(
    request: Request,
    viewer: Principal,
    pages: Renderer,
    platform: Platform,
    back: Backstage,
    version_id: str,
    typed: dict[str, str],
    *,
    act: Act,
    said: str,
) -> Response:
    viewer.require("write")
    form = parse(Review, typed)
    to = {"approve": "approved", "reject": "rejected"}[act]
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                reason = form.request.reason
                version = registry.review_version(session, viewer, parse_id(version_id), to=to, reason=reason)
                model = registry.get_model(session, viewer.scope, version.model_id)
                name, path = f"{model.name} v{version.number}", f"/models/versions/{version.id}"
            return flash.go_on(request, path, pages.say(request, said, name=name))
        except DomainError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise
            form.refuse(error)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _overview(request, viewer, pages, platform, back, version_id, status=status, refused=act, review=form)


@router.post("/tags", dependencies=[FromOurPage])
def set_tags(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str, typed: Typed
) -> Response:
    """Replace its tags; none are left where nothing is typed."""
    viewer.require("write")
    form = parse(VersionUpdate, typed)
    if not typed.get("tags:lines", "").strip():
        form = Form(values=typed, request=VersionUpdate(tags={}))
    if form.request is None:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return _overview(request, viewer, pages, platform, back, version_id, status=status, tags=form)
    with back.tenant(viewer) as session:
        version = registry.tag_version(session, viewer, parse_id(version_id), form.request.tags)
        path = f"/models/versions/{version.id}"
    return flash.go_on(request, path, pages.say(request, "The tags were changed."))
