"""REST routes that start training jobs and estimate them; reading and stopping are the engine's."""

from fastapi import APIRouter, status

from backend.core.http import Transaction, Writer
from backend.core.problems import raises
from backend.datasets.errors import DatasetKindUnusable, DatasetVersionNotFound
from backend.fleet.errors import InstanceTypeUnknown
from backend.jobs.api import job_read
from backend.jobs.errors import SUBMITTED
from backend.jobs.schemas import JobRead
from backend.projects.errors import ProjectNotFound
from backend.registry.errors import ModelNameTaken
from backend.training_jobs import service
from backend.training_jobs.schemas import TrainingEstimate, TrainingEstimateRequest, TrainingJobCreate

router = APIRouter(prefix="/api/v1", tags=["training jobs"])


@router.post(
    "/training-jobs",
    status_code=status.HTTP_201_CREATED,
    responses=raises(*SUBMITTED, DatasetKindUnusable, DatasetVersionNotFound, ModelNameTaken),
)
def create_training_job(session: Transaction, principal: Writer, body: TrainingJobCreate) -> JobRead:
    """Train on a dataset version; the best weights become the next version of `model_name`."""
    return job_read(service.start_training(session, principal, body))


@router.post("/training-jobs/estimate", responses=raises(ProjectNotFound, InstanceTypeUnknown, DatasetVersionNotFound))
def estimate_training_job(session: Transaction, principal: Writer, body: TrainingEstimateRequest) -> TrainingEstimate:
    """Time and price of a training job before it is started, from like jobs and the prices in force."""
    return service.estimate_training(session, principal.scope, body)
