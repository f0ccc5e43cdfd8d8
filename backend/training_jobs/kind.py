"""The job kind `training`: a dataset version in, a registered model version out."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.errors import DomainError
from backend.core.storage import ObjectStore
from backend.core.wire import Channel, ResultSaved
from backend.datasets import service as datasets
from backend.jobs.errors import ResultUnusable
from backend.jobs.kinds import input_id
from backend.jobs.models import Attempt, Job
from backend.registry import service as registry
from backend.registry.errors import ArtifactInvalid

KIND = "training"
CHANNEL = "training"
DATASET_KINDS = {"image-classification": "image", "text-classification": "text"}
"""What each algorithm reads."""


class TrainingKind:
    """Registers the artifact as a version of the model that the job names."""

    name = KIND
    entrypoint = "worker.training"

    def check(self, session: Session, scope: Scope, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """The dataset version is there and of the algorithm's kind; the schema has checked the rest."""
        kind = DATASET_KINDS[parameters["algorithm"]]
        datasets.check_trainable(session, scope, input_id(inputs, CHANNEL), kind)

    def channels(self, session: Session, scope: Scope, job: Job) -> list[Channel]:
        """The dataset version as channel `training`."""
        found = datasets.dataset_channel(session, scope, input_id(job.inputs, CHANNEL))
        return [Channel(name=CHANNEL, kind=found.kind, files=found.files)]

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, job: Job) -> frozenset[str]:
        """The blobs that the dataset version's manifest names."""
        version = datasets.get_version(session, scope, input_id(job.inputs, CHANNEL))
        return datasets.version_digests(storage, version.manifest_sha256, scope.organization_id)

    def complete(
        self, session: Session, scope: Scope, job: Job, attempt: Attempt, result: ResultSaved
    ) -> dict[str, Any]:
        """Register the model version, with its lineage."""
        summary = result.summary
        try:
            version = registry.register_version(
                session,
                scope,
                project_id=job.project_id,
                model_name=job.output["model_name"],
                files=result.files,
                signature=summary["signature"],
                metrics=summary["metrics"],
                report={key: value for key, value in summary.items() if key not in ("signature", "metrics")},
                job_id=job.id,
                attempt_id=attempt.id,
                dataset_version_id=input_id(job.inputs, CHANNEL),
                parent_version_id=None,
                created_by=job.created_by,
            )
        except (DomainError, ArtifactInvalid, KeyError, TypeError) as error:
            raise ResultUnusable(f"the result could not be registered: {error}") from error
        return {**job.output, "model_version_id": str(version.id), "metrics": summary["metrics"]}
