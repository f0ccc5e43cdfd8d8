"""What an agent is told to run for one attempt."""

from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.wire import AttemptSpec, CheckpointRef, FileRef, Standby
from backend.fleet import service as fleet
from backend.fleet.models import InstanceType
from backend.jobs.kinds import kind_of
from backend.jobs.models import Attempt, Checkpoint, Job
from backend.jobs.repository import JobRepository

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
        memory_limit_bytes=_memory_limit_bytes(shape),
        cpu_count=shape.vcpus,
        process_limit=PROCESS_LIMIT,
        disk_limit_bytes=DISK_LIMIT_BYTES,
    )


def standby(session: Session, scope: Scope, instance_id: UUID) -> Standby | None:
    """What an instance without an assignment keeps ready: for the job it was asked for, or one like its last.

    Its limits are those that `attempt_spec` gives: only then may the attempt have it.
    """
    expected = fleet.expected_work(session, scope, instance_id)
    job = JobRepository(session, scope).job(expected.resource_id) if expected is not None else None
    if expected is None or job is None:
        return None
    return Standby(
        entrypoint=kind_of(job.kind).entrypoint,
        memory_limit_bytes=_memory_limit_bytes(expected.shape),
        cpu_count=expected.shape.vcpus,
        process_limit=PROCESS_LIMIT,
        disk_limit_bytes=DISK_LIMIT_BYTES,
    )


def _memory_limit_bytes(shape: InstanceType) -> int:
    return int(shape.memory_bytes * (1 - SYSTEM_SHARE))


def _reference(checkpoint: Checkpoint | None) -> CheckpointRef | None:
    if checkpoint is None:
        return None
    return CheckpointRef(step=checkpoint.step, files=[FileRef(**each) for each in checkpoint.files])
