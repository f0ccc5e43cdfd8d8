"""Use cases of the registry, and what other domains ask of it."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.lifecycle import Event
from backend.core.pagination import PageRequest
from backend.core.wire import Channel, FileRef, ModelSignature
from backend.datasets.service import blob_sizes
from backend.registry.errors import (
    AlreadyReviewed,
    ArtifactFileNotFound,
    ArtifactInvalid,
    ModelNameTaken,
    ModelNotFound,
    ModelVersionNotFound,
)
from backend.registry.models import Model, ModelVersion
from backend.registry.repository import RegistryRepository
from backend.registry.states import APPROVAL_TRANSITIONS

KIND = "model_version"
SERVED_FILE = "model.onnx"

# --- for other domains ---


def check_model_name(session: Session, scope: Scope, *, project_id: UUID, model_name: str) -> None:
    """A job of this project may register under this name. Raises ModelNameTaken (409)."""
    model = RegistryRepository(session, scope).model_by_name(model_name)
    if model is not None and model.project_id != project_id:
        raise ModelNameTaken(f"the model '{model_name}' belongs to another project", hint="choose another name")


def register_version(
    session: Session,
    scope: Scope,
    *,
    project_id: UUID,
    model_name: str,
    files: Sequence[FileRef],
    signature: dict[str, Any],
    metrics: dict[str, Any],
    report: dict[str, Any],
    job_id: UUID | None,
    attempt_id: UUID | None,
    dataset_version_id: UUID | None,
    parent_version_id: UUID | None,
    created_by: str,
) -> ModelVersion:
    """Add a version to the model of this name, which is made where absent; returns it, `pending` approval.

    Registering again for the same job returns the first version, whatever else is said. Every file must be a
    blob of the organization (`datasets.service.record_blob`), and one of them `model.onnx`.
    Raises ArtifactInvalid, ModelNameTaken.
    """
    repository = RegistryRepository(session, scope)
    if job_id is not None and (known := repository.version_of_job(job_id)) is not None:
        return known
    _check_description(signature, metrics, report)
    size_bytes = _check_artifact(session, scope, files)
    model = repository.ensure_model(project_id=project_id, name=model_name, created_by=created_by)
    if model.project_id != project_id:
        raise ModelNameTaken(f"the model '{model_name}' belongs to another project")
    # Whoever registered for this job meanwhile held the model's row, and has committed.
    if job_id is not None and (known := repository.version_of_job(job_id)) is not None:
        return known
    version = ModelVersion(
        organization_id=scope.organization_id,
        model_id=model.id,
        number=repository.next_number(model.id),
        files=[msgspec.to_builtins(file) for file in files],
        size_bytes=size_bytes,
        signature=signature,
        metrics=metrics,
        report=report,
        approval_status="pending",
        job_id=job_id,
        attempt_id=attempt_id,
        dataset_version_id=dataset_version_id,
        parent_version_id=parent_version_id,
    )
    repository.add(version)
    detail = {"model": model.name, "number": version.number, "job_id": str(job_id) if job_id else None}
    _record(session, created_by, "model_version.register", version, detail)
    return version


def _check_description(signature: object, metrics: object, report: object) -> None:
    """What a job process said of its artifact has the form that everybody reads later. Raises ArtifactInvalid."""
    try:
        msgspec.convert(signature, ModelSignature)
    except msgspec.ValidationError as error:
        raise ArtifactInvalid(f"the signature is none: {error}") from error
    if not isinstance(metrics, dict) or not isinstance(report, dict):
        raise ArtifactInvalid("metrics and report must be objects")


def _check_artifact(session: Session, scope: Scope, files: Sequence[FileRef]) -> int:
    """Size of the file that is served. Raises ArtifactInvalid."""
    by_name = {file.name: file for file in files}
    if len(by_name) != len(files):
        raise ArtifactInvalid("two files of the artifact have the same name")
    if SERVED_FILE not in by_name:
        raise ArtifactInvalid(f"the artifact has no {SERVED_FILE}")
    stored = blob_sizes(session, scope, [file.sha256 for file in files])
    absent = sorted(file.name for file in files if stored.get(file.sha256) != file.size_bytes)
    if absent:
        raise ArtifactInvalid(f"files of the artifact are not stored: {', '.join(absent)}")
    return by_name[SERVED_FILE].size_bytes


def get_version(session: Session, scope: Scope, version_id: UUID) -> ModelVersion:
    """One model version. Raises ModelVersionNotFound (404)."""
    version = RegistryRepository(session, scope).version(version_id)
    if version is None:
        raise ModelVersionNotFound(f"there is no model version {version_id}")
    return version


def model_channel(session: Session, scope: Scope, model_version_id: UUID) -> Channel:
    """The version's artifact as a job's input. Raises ModelVersionNotFound (404)."""
    version = get_version(session, scope, model_version_id)
    return Channel(name="model", kind="model", files=version_files(version))


def version_files(version: ModelVersion) -> list[FileRef]:
    """The files of a version's artifact."""
    return msgspec.convert(version.files, list[FileRef])


# --- models ---


def get_model(session: Session, scope: Scope, model_id: UUID) -> Model:
    """One model. Raises ModelNotFound (404)."""
    model = RegistryRepository(session, scope).model(model_id)
    if model is None:
        raise ModelNotFound(f"there is no model {model_id}")
    return model


def newest_version(session: Session, scope: Scope, model_id: UUID) -> ModelVersion | None:
    """The model's version with the highest number."""
    return RegistryRepository(session, scope).newest_versions([model_id]).get(model_id)


def list_models(
    session: Session,
    scope: Scope,
    page: PageRequest,
    *,
    project_id: UUID | None = None,
    name: str | None = None,
    name_contains: str | None = None,
) -> tuple[list[tuple[Model, ModelVersion | None]], str | None]:
    """One page of models with their newest versions, newest model first, and the next page's cursor."""
    repository = RegistryRepository(session, scope)
    models, cursor = repository.models(page, project_id=project_id, name=name, name_contains=name_contains)
    newest = repository.newest_versions([model.id for model in models])
    return [(model, newest.get(model.id)) for model in models], cursor


def find_named(session: Session, scope: Scope, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
    """(id, name) of up to `limit` models whose name holds `words`; see `core.names`."""
    return RegistryRepository(session, scope).named(words, limit)


def update_model(
    session: Session,
    principal: Principal,
    model_id: UUID,
    *,
    description: str | None = None,
    tags: dict[str, str] | None = None,
) -> Model:
    """Change description or all tags; None leaves them. Raises ModelNotFound."""
    model = get_model(session, principal.scope, model_id)
    changed = []
    if description is not None:
        model.description = description
        changed.append("description")
    if tags is not None:
        model.tags = dict(tags)
        changed.append("tags")
    audit.record(
        session,
        principal,
        principal.scope,
        action="model.update",
        resource_kind="model",
        resource_id=model.id,
        detail={"changed": changed},
    )
    return model


# --- versions ---


def list_versions(
    session: Session, scope: Scope, model_id: UUID, page: PageRequest
) -> tuple[list[ModelVersion], str | None]:
    """One page of a model's versions, newest first, and the next page's cursor. Raises ModelNotFound."""
    get_model(session, scope, model_id)
    return RegistryRepository(session, scope).versions(page, model_id=model_id)


def compressed_from(session: Session, scope: Scope, version_ids: Sequence[UUID]) -> Sequence[ModelVersion]:
    """Versions that were compressed from these, oldest first."""
    return RegistryRepository(session, scope).compressed_from(version_ids)


def list_events(session: Session, scope: Scope, version_id: UUID) -> Sequence[Event]:
    """Changes of the approval status, oldest first. Raises ModelVersionNotFound."""
    get_version(session, scope, version_id)
    return RegistryRepository(session, scope).events(version_id)


def list_servable(
    session: Session, scope: Scope, *, project_id: UUID | None = None, limit: int = 200
) -> list[tuple[Model, ModelVersion]]:
    """The newest versions that an endpoint takes (not rejected, with an artifact), with their models."""
    return RegistryRepository(session, scope).servable(project_id=project_id, limit=limit)


def named_versions(
    session: Session, scope: Scope, version_ids: Collection[UUID]
) -> dict[UUID, tuple[Model, ModelVersion]]:
    """Versions with their models, by the version's id; one that is not there is left out."""
    return RegistryRepository(session, scope).with_models(version_ids)


def review_version(session: Session, principal: Principal, version_id: UUID, *, to: str, reason: str) -> ModelVersion:
    """Approve or reject (`to` = approved | rejected). Raises ModelVersionNotFound, AlreadyReviewed."""
    repository = RegistryRepository(session, principal.scope)
    version = repository.version(version_id, lock=True)
    if version is None:
        raise ModelVersionNotFound(f"there is no model version {version_id}")
    before = version.approval_status
    if to not in APPROVAL_TRANSITIONS[before]:
        raise AlreadyReviewed(f"this version is {before}", approval_status=before)
    version.approval_status = to
    event = Event(
        organization_id=version.organization_id,
        resource_kind=KIND,
        resource_id=version.id,
        from_status=before,
        to_status=to,
        reason=reason,
        actor=principal.actor,
    )
    repository.add(event)
    _record(session, principal, f"model_version.{to}", version, {"from": before, "reason": reason})
    return version


def tag_version(session: Session, principal: Principal, version_id: UUID, tags: dict[str, str]) -> ModelVersion:
    """Replace the tags. Raises ModelVersionNotFound."""
    version = get_version(session, principal.scope, version_id)
    version.tags = dict(tags)
    _record(session, principal, "model_version.update", version, {"changed": ["tags"]})
    return version


def artifact_file(version: ModelVersion, name: str) -> FileRef:
    """One file of the artifact. Raises ArtifactFileNotFound (404)."""
    for file in version_files(version):
        if file.name == name:
            return file
    raise ArtifactFileNotFound(f"this version has no file '{name}'")


def _record(
    session: Session,
    principal_or_actor: Principal | str,
    action: str,
    version: ModelVersion,
    detail: dict[str, Any],
) -> None:
    audit.record(
        session,
        principal_or_actor,
        Scope(version.organization_id),
        action=action,
        resource_kind=KIND,
        resource_id=version.id,
        detail=detail,
    )
