"""REST routes that start compression jobs and estimate them; reading and stopping are the engine's."""

from fastapi import APIRouter, status

from backend.compression_jobs import service
from backend.compression_jobs.errors import DatasetVersionNeeded
from backend.compression_jobs.estimates import estimate_compression
from backend.compression_jobs.schemas import CompressionEstimateRead, CompressionEstimateRequest, CompressionJobCreate
from backend.core.http import Transaction, Writer
from backend.core.problems import raises
from backend.datasets import service as datasets
from backend.datasets.errors import DatasetKindUnusable, DatasetVersionNotFound
from backend.fleet.errors import InstanceTypeUnknown
from backend.jobs.api import job_read
from backend.jobs.errors import SUBMITTED
from backend.jobs.schemas import JobRead
from backend.projects.errors import ProjectNotFound
from backend.projects.service import get_project
from backend.registry import service as registry
from backend.registry.errors import ModelNameTaken, ModelVersionNotFound

router = APIRouter(prefix="/api/v1", tags=["compression jobs"])


@router.post(
    "/compression-jobs",
    status_code=status.HTTP_201_CREATED,
    responses=raises(
        *SUBMITTED,
        ModelVersionNotFound,
        DatasetKindUnusable,
        DatasetVersionNotFound,
        DatasetVersionNeeded,
        ModelNameTaken,
    ),
)
def create_compression_job(session: Transaction, principal: Writer, body: CompressionJobCreate) -> JobRead:
    """Compress a model version; a version that loses too much or is not faster is refused, not registered."""
    return job_read(service.start_compression(session, principal, body))


@router.post(
    "/compression-jobs/estimate",
    responses=raises(ProjectNotFound, InstanceTypeUnknown, ModelVersionNotFound, DatasetVersionNotFound),
)
def estimate_compression_job(
    session: Transaction, principal: Writer, body: CompressionEstimateRequest
) -> CompressionEstimateRead:
    """Time and price of a compression job before it is started, from those that ran and the price in force."""
    get_project(session, principal.scope, body.project_id)
    registry.get_version(session, principal.scope, body.model_version_id)
    if body.dataset_version_id is not None:
        datasets.get_version(session, principal.scope, body.dataset_version_id)
    found = estimate_compression(
        session,
        principal.scope,
        instance_type=body.instance_type,
        market=body.market,
        max_runtime_seconds=body.max_runtime_seconds,
        max_attempts=body.max_attempts,
        keep_alive_seconds=body.keep_alive_seconds,
    )
    return CompressionEstimateRead.model_validate(found)
