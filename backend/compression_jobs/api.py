"""REST route that starts compression jobs; reading and stopping are the engine's."""

from fastapi import APIRouter, status

from backend.compression_jobs import service
from backend.compression_jobs.errors import DatasetVersionNeeded
from backend.compression_jobs.schemas import CompressionJobCreate
from backend.core.http import Transaction, Writer
from backend.core.problems import raises
from backend.datasets.errors import DatasetVersionNotFound
from backend.jobs.api import job_read
from backend.jobs.errors import SUBMITTED
from backend.jobs.schemas import JobRead
from backend.registry.errors import ModelNameTaken, ModelVersionNotFound

router = APIRouter(prefix="/api/v1", tags=["compression jobs"])


@router.post(
    "/compression-jobs",
    status_code=status.HTTP_201_CREATED,
    responses=raises(*SUBMITTED, ModelVersionNotFound, DatasetVersionNotFound, DatasetVersionNeeded, ModelNameTaken),
)
def create_compression_job(session: Transaction, principal: Writer, body: CompressionJobCreate) -> JobRead:
    """Compress a model version; a version that loses too much or is not faster is refused, not registered."""
    return job_read(service.start_compression(session, principal, body))
