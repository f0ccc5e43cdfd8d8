"""A job once more: its request rebuilt from its row, by kind."""

from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from backend.compression_jobs.schemas import CompressionJobCreate
from backend.compression_jobs.service import start_compression
from backend.core.auth import Principal
from backend.core.errors import InvalidRequest
from backend.jobs import service as jobs
from backend.jobs.kinds import input_id
from backend.jobs.models import Job
from backend.jobs.schemas import JobRequest, SleepJobCreate
from backend.training_jobs.kind import CHANNEL
from backend.training_jobs.schemas import TrainingJobCreate
from backend.training_jobs.service import start_training
from frontend.forms import sentence


def run_again(session: Session, viewer: Principal, job: Job, name: str) -> Job:
    """The same request under a new name. Raises what the kind's start raises, InvalidRequest for a bad name."""
    given: dict[str, Any] = {field: getattr(job, field) for field in JobRequest.model_fields} | {"name": name.strip()}
    try:
        if job.kind == "training":
            return start_training(session, viewer, TrainingJobCreate.model_validate(given | _training(job)))
        if job.kind == "compression":
            return start_compression(session, viewer, CompressionJobCreate.model_validate(given | _compression(job)))
        wanted = SleepJobCreate.model_validate(given | {"parameters": job.parameters})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{where}: {sentence(first)}") from error
    parameters = wanted.parameters.model_dump(exclude_none=True)
    return jobs.submit_job(session, viewer, wanted, kind=job.kind, parameters=parameters, inputs={}, output={})


def _training(job: Job) -> dict[str, Any]:
    given = dict(job.parameters)
    if given["algorithm"] == "text-classification":
        given["text_hyperparameters"] = given.pop("hyperparameters")
    return {
        **given,
        "dataset_version_id": input_id(job.inputs, CHANNEL),
        "model_name": job.output["model_name"],
    }


def _compression(job: Job) -> dict[str, Any]:
    return {
        "parameters": job.parameters,
        "model_version_id": input_id(job.inputs, "model"),
        "dataset_version_id": input_id(job.inputs, "dataset"),
        "model_name": job.output["model_name"],
    }
