"""The engine as owner of assignments of kind `attempt`: what it does with what agents say."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.db import Scope, ring_after_commit
from backend.core.queue import make_due
from backend.core.storage import ObjectStore
from backend.fleet import subjects
from backend.fleet.models import Assignment
from backend.fleet.sync import STREAMED, log_key
from backend.jobs.kinds import kind_of
from backend.jobs.metrics import store_metrics
from backend.jobs.models import Attempt, Job, LogChunk
from backend.jobs.repository import JobRepository
from backend.jobs.service import CONTROL


class AttemptSubject:
    """Stores metrics and log chunks as they come; wakes the controller for the rest."""

    def on_reports(
        self, session: Session, scope: Scope, assignment: Assignment, reports: Sequence[wire.Report]
    ) -> None:
        """Store what is streamed, mark the job due for what is not."""
        repository = JobRepository(session, scope)
        attempt = repository.attempt(assignment.subject_id)
        if attempt is None:
            return
        for report in reports:
            if isinstance(report.body, wire.Metrics):
                store_metrics(session, scope, attempt, report, report.body)
            elif isinstance(report.body, wire.Logs):
                _store_logs(repository, scope, attempt, report, report.body)
        if any(not isinstance(report.body, STREAMED) for report in reports):
            make_due(session, Job, [attempt.job_id])
            ring_after_commit(session, CONTROL)

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, assignment: Assignment) -> frozenset[str]:
        """The inputs of its job, and the checkpoint it resumes from."""
        spec = msgspec.convert(assignment.spec, wire.AttemptSpec)
        files = [each for channel in spec.channels for each in channel.files]
        if spec.checkpoint is not None:
            files += spec.checkpoint.files
        named = frozenset(each.sha256 for each in files)
        job = JobRepository(session, scope).job(UUID(spec.job_id))
        return named if job is None else named | kind_of(job.kind).readable(session, storage, scope, job)


def _store_logs(
    repository: JobRepository, scope: Scope, attempt: Attempt, report: wire.Report, said: wire.Logs
) -> None:
    repository.add(
        LogChunk(
            organization_id=scope.organization_id,
            job_id=attempt.job_id,
            attempt_id=attempt.id,
            attempt_number=attempt.number,
            epoch=report.epoch,
            seq=report.seq,
            line_count=len(said.lines),
            size_bytes=sum(len(line) for line in said.lines),
            storage_key=log_key(scope.organization_id, report.assignment_id, report.epoch, report.seq),
        )
    )


def _wake(session: Session, scope: Scope, subject_id: UUID) -> None:
    """An instance changed that a job waits for, or that an attempt runs on."""
    attempt = JobRepository(session, scope).attempt(subject_id)
    make_due(session, Job, [attempt.job_id if attempt is not None else subject_id])
    ring_after_commit(session, CONTROL)


def install() -> None:
    """Own assignments of kind `attempt`. Called by composition roots."""
    subjects.register("attempt", AttemptSubject())
    subjects.listen(_wake)
