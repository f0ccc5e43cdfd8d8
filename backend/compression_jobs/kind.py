"""The job kind `compression`: a model version in, a smaller and faster one out, or a refusal by the gate."""

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


class CompressionKind:
    """Registers the compressed artifact with the version it came from as its parent."""

    name = "compression"
    entrypoint = "worker.compression"

    def check(self, session: Session, scope: Scope, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Model version and dataset version exist in this organization; the schema has checked the rest."""
        del parameters
        version = registry.get_version(session, scope, input_id(inputs, "model"))
        preprocessing = version.signature.get("preprocessing")
        reads_texts = isinstance(preprocessing, dict) and "tokenizer" in preprocessing
        datasets.check_trainable(session, scope, input_id(inputs, "dataset"), "text" if reads_texts else "image")

    def channels(self, session: Session, scope: Scope, job: Job) -> list[Channel]:
        """The artifact as channel `model`, the dataset version as channel `dataset`."""
        return [
            registry.model_channel(session, scope, input_id(job.inputs, "model")),
            datasets.dataset_channel(session, scope, input_id(job.inputs, "dataset")),
        ]

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, job: Job) -> frozenset[str]:
        """The blobs that the dataset version's manifest names; the artifact's files are in the spec."""
        version = datasets.get_version(session, scope, input_id(job.inputs, "dataset"))
        return datasets.version_digests(storage, version.manifest_sha256, scope.organization_id)

    def complete(
        self, session: Session, scope: Scope, job: Job, attempt: Attempt, result: ResultSaved
    ) -> dict[str, Any]:
        """Register the compressed version."""
        summary = result.summary
        try:
            report = _measured_on(summary["report"], job.instance_type)
            version = registry.register_version(
                session,
                scope,
                project_id=job.project_id,
                model_name=job.output["model_name"],
                files=result.files,
                signature=summary["signature"],
                metrics=summary["metrics"],
                report=report,
                job_id=job.id,
                attempt_id=attempt.id,
                dataset_version_id=input_id(job.inputs, "dataset"),
                parent_version_id=input_id(job.inputs, "model"),
                created_by=job.created_by,
            )
        except (DomainError, ArtifactInvalid, KeyError, TypeError) as error:
            raise ResultUnusable(f"the result could not be registered: {error}") from error
        return {**job.output, "model_version_id": str(version.id), "report": report}


def _measured_on(report: dict[str, Any], instance_type: str) -> dict[str, Any]:
    """The report, saying where its figures are from: only the platform knows the instance's type."""
    return report | {"measured_on": report["measured_on"] | {"instance_type": instance_type}}
