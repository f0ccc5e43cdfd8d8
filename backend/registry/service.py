"""Use cases of the registry, and what other domains ask of it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.wire import Channel, FileRef
from backend.datasets.service import blob_sizes
from backend.registry.errors import ArtifactInvalid, ModelNameTaken, ModelNotFound, ModelVersionNotFound
from backend.registry.models import Model, ModelVersion
from backend.registry.repository import RegistryRepository

SERVED_FILE = "model.onnx"


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
    Raises ArtifactInvalid (422), ModelNameTaken (409).
    """
    repository = RegistryRepository(session, scope)
    if job_id is not None and (known := repository.version_of_job(job_id)) is not None:
        return known
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
    return version


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
        raise ArtifactInvalid(f"files of the artifact are not stored: {', '.join(absent)}", files=absent)
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


def get_model(session: Session, scope: Scope, model_id: UUID) -> Model:
    """One model. Raises ModelNotFound (404)."""
    model = RegistryRepository(session, scope).model(model_id)
    if model is None:
        raise ModelNotFound(f"there is no model {model_id}")
    return model
