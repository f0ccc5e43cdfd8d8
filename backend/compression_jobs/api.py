"""REST route that starts compression jobs; reading and stopping are the engine's."""

from fastapi import APIRouter, status

from backend.compression_jobs.errors import DatasetVersionNeeded
from backend.compression_jobs.schemas import CompressionJobCreate
from backend.core.http import Transaction, Writer
from backend.core.problems import raises
from backend.datasets.errors import DatasetVersionNotFound
from backend.jobs import service as jobs
from backend.jobs.api import job_read
from backend.jobs.errors import SUBMITTED
from backend.jobs.schemas import JobRead
from backend.registry import service as registry
from backend.registry.errors import ModelNameTaken, ModelVersionNotFound

router = APIRouter(prefix="/api/v1", tags=["compression jobs"])


@router.post(
    "/compression-jobs",
    status_code=status.HTTP_201_CREATED,
    responses=raises(*SUBMITTED, ModelVersionNotFound, DatasetVersionNotFound, DatasetVersionNeeded, ModelNameTaken),
)
def create_compression_job(session: Transaction, principal: Writer, body: CompressionJobCreate) -> JobRead:
    """Compress a model version; a version that loses too much or is not faster is refused, not registered."""
    scope = principal.scope
    version = registry.get_version(session, scope, body.model_version_id)
    dataset_version_id = body.dataset_version_id or version.dataset_version_id
    if dataset_version_id is None:
        raise DatasetVersionNeeded(f"model version {version.id} has no dataset version; name one")
    model_name = body.model_name or registry.get_model(session, scope, version.model_id).name
    registry.check_model_name(session, scope, project_id=body.project_id, model_name=model_name)
    job = jobs.submit_job(
        session,
        principal,
        body,
        kind="compression",
        parameters=body.parameters.model_dump(mode="json"),
        inputs={
            "model": {"kind": "model", "id": str(version.id)},
            "dataset": {"kind": "dataset", "id": str(dataset_version_id)},
        },
        output={"model_name": model_name},
    )
    return job_read(job)
