"""The moves of jobs and attempts: legal transitions with their events, and what belongs to an end."""

from typing import Any, Final

from sqlalchemy.orm import Session

from backend.core.clock import database_now
from backend.core.lifecycle import transition
from backend.jobs import states
from backend.jobs.models import Attempt, Job

ACTOR: Final = "controller:jobs"


def move(session: Session, job: Job, to: str, reason: str) -> None:
    """A legal transition of a job, with its event."""
    transition(session, "job", job, to, states.JOB, reason=reason, actor=ACTOR)


def fail(session: Session, job: Job, failure: dict[str, Any]) -> None:
    """The job failed, with a class and a plain reason."""
    job.failure = failure
    job.ended_at = database_now(session)
    move(session, job, states.FAILED, str(failure["reason"]))


def end_attempt(
    session: Session, attempt: Attempt, to: str, reason: str, failure: dict[str, Any] | None = None
) -> None:
    """An attempt ended: completed, failed, stopped or interrupted."""
    attempt.failure = failure
    attempt.ended_at = database_now(session)
    transition(session, "attempt", attempt, to, states.ATTEMPT, reason=reason, actor=ACTOR)
