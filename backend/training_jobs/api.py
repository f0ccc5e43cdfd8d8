"""REST route that starts training jobs; reading and stopping are the engine's."""

from fastapi import APIRouter, status

from backend.core.http import Transaction, Writer
from backend.core.problems import raises
from backend.datasets.errors import DatasetVersionNotFound
from backend.jobs import service as jobs
from backend.jobs.api import job_read
from backend.jobs.errors import SUBMITTED
from backend.jobs.schemas import JobRead
from backend.registry.errors import ModelNameTaken
from backend.registry.service import check_model_name
from backend.training_jobs.kind import CHANNEL
from backend.training_jobs.schemas import TrainingJobCreate

router = APIRouter(prefix="/api/v1", tags=["training jobs"])


@router.post(
    "/training-jobs",
    status_code=status.HTTP_201_CREATED,
    responses=raises(*SUBMITTED, DatasetVersionNotFound, ModelNameTaken),
)
def create_training_job(session: Transaction, principal: Writer, body: TrainingJobCreate) -> JobRead:
    """Train on a dataset version; the best weights become the next version of `model_name`."""
    check_model_name(session, principal.scope, project_id=body.project_id, model_name=body.model_name)
    job = jobs.submit_job(
        session,
        principal,
        body,
        kind="training",
        parameters={
            "algorithm": body.algorithm,
            "hyperparameters": body.hyperparameters.model_dump(mode="json"),
        },
        inputs={CHANNEL: {"kind": "dataset", "id": str(body.dataset_version_id)}},
        output={"model_name": body.model_name},
    )
    return job_read(job)
