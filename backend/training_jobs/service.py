"""Use cases of training: start a job, and say beforehand what it will take."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from backend.billing import service as billing
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.datasets import service as datasets
from backend.fleet import service as fleet
from backend.jobs import service as jobs
from backend.jobs.models import Job
from backend.projects.service import get_project
from backend.registry.service import check_model_name
from backend.training_jobs.kind import CHANNEL, KIND
from backend.training_jobs.schemas import Hyperparameters, TrainingEstimate, TrainingEstimateRequest, TrainingJobCreate

SHAPING = ("architecture", "width", "hidden", "batch_size", "precision", "encoder", "max_length")
"""Hyperparameters that say how long an epoch takes; jobs that share them are preferred."""
MOST_LIKE = 20


@dataclass(frozen=True)
class Run:
    """How long a completed job took: `setup` seconds to its first step, then `work` seconds for its epochs."""

    setup: float
    work: float
    epochs: int

    def seconds(self, epochs: int, *, may_stop_early: bool) -> tuple[float, float]:
        """Shortest and longest for so many epochs. What may stop early may stop where this one did."""
        scaled = self.setup + self.work * epochs / self.epochs
        shortest = min(scaled, self.setup + self.work) if may_stop_early else scaled
        return shortest, scaled


def start_training(session: Session, principal: Principal, wanted: TrainingJobCreate) -> Job:
    """A new training job, queued. Raises what `jobs.submit_job` does, DatasetVersionNotFound, ModelNameTaken."""
    check_model_name(session, principal.scope, project_id=wanted.project_id, model_name=wanted.model_name)
    return jobs.submit_job(
        session,
        principal,
        wanted,
        kind=KIND,
        parameters={
            "algorithm": wanted.algorithm,
            "hyperparameters": wanted.settings.model_dump(mode="json"),
        },
        inputs={CHANNEL: {"kind": "dataset", "id": str(wanted.dataset_version_id)}},
        output={"model_name": wanted.model_name},
    )


def estimate_training(session: Session, scope: Scope, wanted: TrainingEstimateRequest) -> TrainingEstimate:
    """Time and price of a training job, from the durations of like jobs and the prices in force.

    Like jobs: completed at the first try, on the same dataset version and instance type; those of the same shape
    (architecture, width, batch size, …) if there are any. Their time after the first step is scaled to the epochs
    wanted. Raises ProjectNotFound, InstanceTypeUnknown, DatasetVersionNotFound.
    """
    get_project(session, scope, wanted.project_id)
    shape = fleet.get_instance_type(session, scope, wanted.instance_type)
    datasets.get_version(session, scope, wanted.dataset_version_id)
    price = billing.price_in_force(session, fleet.sku_of(shape.name, wanted.market))
    found = _like_runs(session, scope, wanted)
    epochs, may_stop = wanted.settings.epochs, wanted.settings.early_stopping.enabled
    limit = float(wanted.max_runtime_seconds)
    spans = [run.seconds(epochs, may_stop_early=may_stop) for run in found]
    low = min((min(shortest, limit) for shortest, _ in spans), default=None)
    high = max((min(longest, limit) for _, longest in spans), default=None)
    unit = price.amount if price is not None else None
    return TrainingEstimate(
        like_jobs=len(found),
        seconds_low=low,
        seconds_high=high,
        price_per_second=unit,
        amount_low=_amount(low, unit),
        amount_high=_amount(None if high is None else high + wanted.keep_alive_seconds, unit),
        at_most_seconds=wanted.max_runtime_seconds * wanted.max_attempts,
        at_most_amount=_amount(limit * wanted.max_attempts + wanted.keep_alive_seconds, unit),
    )


def _amount(seconds: float | None, price_per_second: Decimal | None) -> Decimal | None:
    if seconds is None or price_per_second is None:
        return None
    return Decimal(round(seconds * 1000)) / 1000 * price_per_second


def _like_runs(session: Session, scope: Scope, wanted: TrainingEstimateRequest) -> list[Run]:
    dataset = str(wanted.dataset_version_id)
    on_it = [
        job
        for job in jobs.completed_runs(session, scope, KIND, wanted.instance_type)
        if job.inputs.get(CHANNEL, {}).get("id") == dataset
    ]
    alike = [job for job in on_it if _shape(job.parameters.get("hyperparameters", {})) == _wanted_shape(wanted)]
    runs = [_run(job) for job in (alike or on_it)[:MOST_LIKE]]
    return [run for run in runs if run is not None]


def _wanted_shape(wanted: TrainingEstimateRequest) -> Sequence[object]:
    return _shape(wanted.settings.model_dump(mode="json"))


def _shape(hyperparameters: dict[str, object]) -> Sequence[object]:
    return [hyperparameters.get(name) for name in SHAPING]


def _run(job: Job) -> Run | None:
    """None for a job whose row does not say how long it took."""
    if job.started_at is None or job.ended_at is None:
        return None
    first_step = job.first_step_at or job.started_at
    epochs = job.parameters.get("hyperparameters", {}).get("epochs", Hyperparameters().epochs)
    setup, work = (first_step - job.started_at).total_seconds(), (job.ended_at - first_step).total_seconds()
    return Run(max(setup, 0.0), max(work, 0.0), max(int(epochs), 1))
