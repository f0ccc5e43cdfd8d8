"""What an agent is told to run for one attempt."""

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.wire import AttemptSpec, CheckpointRef, FileRef
from backend.fleet.models import InstanceType
from backend.jobs.kinds import kind_of
from backend.jobs.models import Attempt, Checkpoint, Job

PROCESS_LIMIT = 512
DISK_LIMIT_BYTES = 20 * 1024**3
SYSTEM_SHARE = 0.15
"""Of an instance's memory, kept for its agent and its system."""


def attempt_spec(
    session: Session, scope: Scope, job: Job, attempt: Attempt, checkpoint: Checkpoint | None, shape: InstanceType
) -> AttemptSpec:
    """Entry point, parameters, inputs by digest, checkpoint to resume from, limits of the shape."""
    kind = kind_of(job.kind)
    return AttemptSpec(
        job_id=str(job.id),
        attempt_id=str(attempt.id),
        attempt_number=attempt.number,
        job_kind=job.kind,
        entrypoint=kind.entrypoint,
        parameters=job.parameters,
        channels=kind.channels(session, scope, job),
        checkpoint=_reference(checkpoint),
        max_runtime_seconds=float(job.max_runtime_seconds),
        memory_limit_bytes=int(shape.memory_bytes * (1 - SYSTEM_SHARE)),
        cpu_count=shape.vcpus,
        process_limit=PROCESS_LIMIT,
        disk_limit_bytes=DISK_LIMIT_BYTES,
    )


def _reference(checkpoint: Checkpoint | None) -> CheckpointRef | None:
    if checkpoint is None:
        return None
    return CheckpointRef(step=checkpoint.step, files=[FileRef(**each) for each in checkpoint.files])
