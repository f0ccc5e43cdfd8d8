"""Use cases of compression: start a job."""

from sqlalchemy.orm import Session

from backend.compression_jobs.errors import DatasetVersionNeeded
from backend.compression_jobs.schemas import CompressionJobCreate
from backend.core.auth import Principal
from backend.jobs import service as jobs
from backend.jobs.models import Job
from backend.registry import service as registry


def start_compression(session: Session, principal: Principal, wanted: CompressionJobCreate) -> Job:
    """A new compression job, queued.

    Raises what `jobs.submit_job` does, ModelVersionNotFound, DatasetVersionNotFound, DatasetVersionNeeded,
    ModelNameTaken.
    """
    scope = principal.scope
    version = registry.get_version(session, scope, wanted.model_version_id)
    dataset_version_id = wanted.dataset_version_id or version.dataset_version_id
    if dataset_version_id is None:
        raise DatasetVersionNeeded(f"model version {version.id} has no dataset version; name one")
    model_name = wanted.model_name or registry.get_model(session, scope, version.model_id).name
    registry.check_model_name(session, scope, project_id=wanted.project_id, model_name=model_name)
    return jobs.submit_job(
        session,
        principal,
        wanted,
        kind="compression",
        parameters=wanted.parameters.model_dump(mode="json"),
        inputs={
            "model": {"kind": "model", "id": str(version.id)},
            "dataset": {"kind": "dataset", "id": str(dataset_version_id)},
        },
        output={"model_name": model_name},
    )
