"""REST routes of models and model versions."""

from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import StreamingResponse

from backend.core.fields import ResourceName
from backend.core.http import Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.core.storage import ObjectMissing, StorageUnavailable
from backend.registry import service
from backend.registry.errors import (
    AlreadyReviewed,
    ArtifactFileNotFound,
    EvaluationNotFound,
    ModelNotFound,
    ModelVersionNotFound,
)
from backend.registry.evaluation import read_evaluation
from backend.registry.models import Model, ModelVersion
from backend.registry.schemas import (
    Evaluation,
    EventList,
    EventView,
    ModelRead,
    ModelUpdate,
    ModelVersionDetail,
    ModelVersionRead,
    Review,
    VersionUpdate,
)

router = APIRouter(prefix="/api/v1", tags=["models"])


@router.get("/models")
def list_models(
    principal: Reader,
    session: Transaction,
    page: PageParameters,
    project_id: UUID | None = None,
    name: Annotated[ResourceName | None, Query(description="only the model of this name")] = None,
    name_contains: Annotated[ResourceName | None, Query(description="part of the name")] = None,
) -> Page[ModelRead]:
    """List models with their newest versions, newest model first."""
    rows, cursor = service.list_models(
        session, principal.scope, page, project_id=project_id, name=name, name_contains=name_contains
    )
    return Page(items=[_model(model, newest) for model, newest in rows], next_cursor=cursor)


@router.get("/models/{model_id}", responses=raises(ModelNotFound))
def get_model(model_id: UUID, principal: Reader, session: Transaction) -> ModelRead:
    """Read one model, with its newest version."""
    model = service.get_model(session, principal.scope, model_id)
    return _model(model, service.newest_version(session, principal.scope, model_id))


@router.patch("/models/{model_id}", responses=raises(ModelNotFound))
def update_model(model_id: UUID, body: ModelUpdate, principal: Writer, session: Transaction) -> ModelRead:
    """Change description or tags; what is left out stays."""
    model = service.update_model(session, principal, model_id, description=body.description, tags=body.tags)
    return _model(model, service.newest_version(session, principal.scope, model_id))


@router.get("/models/{model_id}/versions", responses=raises(ModelNotFound))
def list_versions(
    model_id: UUID, principal: Reader, session: Transaction, page: PageParameters
) -> Page[ModelVersionRead]:
    """List the versions of a model, newest first."""
    rows, cursor = service.list_versions(session, principal.scope, model_id, page)
    return Page(items=[ModelVersionRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/model-versions/{version_id}", responses=raises(ModelVersionNotFound))
def get_version(version_id: UUID, principal: Reader, session: Transaction) -> ModelVersionDetail:
    """Read one version: files, signature, metrics, report, and where it comes from."""
    version = service.get_version(session, principal.scope, version_id)
    model = service.get_model(session, principal.scope, version.model_id)
    known = ModelVersionRead.model_validate(version).model_dump()
    return ModelVersionDetail(**known, model_name=model.name)


@router.get("/model-versions/{version_id}/events", responses=raises(ModelVersionNotFound))
def list_events(version_id: UUID, principal: Reader, session: Transaction) -> EventList:
    """Who approved or rejected the version, and why; oldest first."""
    rows = service.list_events(session, principal.scope, version_id)
    return EventList(items=[EventView.model_validate(row) for row in rows])


@router.get(
    "/model-versions/{version_id}/evaluation",
    responses=raises(ModelVersionNotFound, EvaluationNotFound, ObjectMissing, StorageUnavailable),
)
def get_evaluation(version_id: UUID, principal: Reader, request: Request) -> Evaluation:
    """Read what the version gets right and wrong on the images it was not trained on."""
    # No session is held while the object store is asked.
    with request.app.state.database.unit_of_work(principal.scope) as session:
        version = service.get_version(session, principal.scope, version_id)
    return read_evaluation(request.app.state.storage, version)


@router.patch("/model-versions/{version_id}", responses=raises(ModelVersionNotFound))
def tag_version(version_id: UUID, body: VersionUpdate, principal: Writer, session: Transaction) -> ModelVersionRead:
    """Replace a version's tags."""
    return ModelVersionRead.model_validate(service.tag_version(session, principal, version_id, body.tags))


@router.post("/model-versions/{version_id}/approve", responses=raises(ModelVersionNotFound, AlreadyReviewed))
def approve_version(
    version_id: UUID, principal: Writer, session: Transaction, body: Annotated[Review | None, Body()] = None
) -> ModelVersionRead:
    """Approve a version. 409 `already_reviewed` when it is approved."""
    reason = body.reason if body else ""
    version = service.review_version(session, principal, version_id, to="approved", reason=reason)
    return ModelVersionRead.model_validate(version)


@router.post("/model-versions/{version_id}/reject", responses=raises(ModelVersionNotFound, AlreadyReviewed))
def reject_version(
    version_id: UUID, principal: Writer, session: Transaction, body: Annotated[Review | None, Body()] = None
) -> ModelVersionRead:
    """Reject a version. 409 `already_reviewed` when it is rejected."""
    reason = body.reason if body else ""
    version = service.review_version(session, principal, version_id, to="rejected", reason=reason)
    return ModelVersionRead.model_validate(version)


@router.get(
    "/model-versions/{version_id}/files/{name:path}",
    response_class=StreamingResponse,
    responses=raises(ModelVersionNotFound, ArtifactFileNotFound, ObjectMissing, StorageUnavailable),
)
def get_file(version_id: UUID, name: str, principal: Reader, request: Request) -> StreamingResponse:
    """Download one file of the artifact."""
    # No session is held while the content flows.
    with request.app.state.database.unit_of_work(principal.scope) as session:
        version = service.get_version(session, principal.scope, version_id)
    file = service.artifact_file(version, name)
    content = request.app.state.storage.stream_blob(principal.organization_id, file.sha256)
    headers = {
        "Content-Length": str(file.size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2])}",
        "ETag": f'"{file.sha256}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)


def _model(model: Model, newest: ModelVersion | None) -> ModelRead:
    return ModelRead(
        id=model.id,
        project_id=model.project_id,
        name=model.name,
        description=model.description,
        tags=model.tags,
        created_by=model.created_by,
        created_at=model.created_at,
        newest_version=ModelVersionRead.model_validate(newest) if newest is not None else None,
    )
