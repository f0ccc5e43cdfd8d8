"""Following a placed job: apply the agent's reports in order, tell it to stop, notice that it is lost, end it."""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import and_, or_
from sqlalchemy.orm import Session

from backend.core import queue, wire
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.lifecycle import transition
from backend.core.settings import ControlSettings, Settings
from backend.fleet import service as fleet
from backend.fleet.models import Report
from backend.fleet.service import AssignmentState
from backend.jobs import states
from backend.jobs.errors import ResultUnusable
from backend.jobs.kinds import kind_of
from backend.jobs.models import Attempt, Checkpoint, Job
from backend.jobs.moves import ACTOR, end_attempt, fail, move
from backend.jobs.repository import JobRepository, open_assignments

LOOK_AGAIN: Final = timedelta(seconds=5)
SOON: Final = timedelta(seconds=1)
TRIED_AGAIN: Final = frozenset({"interruption", "platform", "capacity"})
"""Failure classes that another attempt may survive (★11)."""


def postpone_undisturbed(session: Session, control: ControlSettings, *, limit: int) -> tuple[int, int]:
    """Look at due jobs that are placed; those that run as they should are due again later. Unscoped: the controller's.

    Returns (how many were looked at, how many of them need a step of their own). Such a step would have changed
    nothing but the next time: no report waits, nobody is silent, nothing is to be passed on.
    """
    told = or_(Job.stop_requested_at.is_(None), Job.status == states.STOPPING)
    placed = and_(Job.status.in_((states.STARTING, states.RUNNING, states.STOPPING)), told)
    due = queue.lock_due(session, Job, limit=limit, where=placed)
    if not due:
        return 0, 0
    jobs = open_assignments(session, due)
    quiet = [jobs[each] for each in fleet.undisturbed_assignments(session, list(jobs), control.lost_after_seconds)]
    queue.postpone(session, Job, quiet, seconds=LOOK_AGAIN.total_seconds())
    return len(due), len(due) - len(quiet)


def follow(session: Session, scope: Scope, job: Job, settings: Settings) -> datetime | None:
    """One look at the open attempt; returns when to look again."""
    attempt = JobRepository(session, scope).open_attempt(job.id)
    now = database_now(session)
    # A placed job has an open attempt with an assignment: both are made in one transaction and ended in another.
    assert attempt is not None  # noqa: S101 - see above
    state = fleet.assignment_state(session, scope, attempt.assignment_id, settings.control)
    assert state is not None  # noqa: S101 - see above
    reports = fleet.unapplied_reports(session, scope, attempt.assignment_id)
    ended: Report | None = None
    for report in reports:
        if report.kind == "ended":
            # The last report of an epoch; whatever a confused agent says after it is not heard.
            ended = report
            break
        _apply(session, scope, job, attempt, report)
    fleet.mark_applied(session, scope, reports)
    if ended is not None:
        return _end(session, scope, job, attempt, state, ended)
    if state.lost:
        return _lost(session, scope, job, attempt, state, now)
    return _ask(session, scope, job, attempt, state, now)


def _apply(session: Session, scope: Scope, job: Job, attempt: Attempt, report: Report) -> None:
    body = msgspec.convert(report.body, wire.ReportBody)
    if isinstance(body, wire.Started):
        if attempt.status != states.STARTING:
            return  # said twice: the first start counts
        fleet.accept_start(session, scope, attempt.assignment_id, at=report.received_at)
        attempt.started_at = report.received_at
        job.started_at = job.started_at or report.received_at
        transition(session, "attempt", attempt, states.RUNNING, states.ATTEMPT, reason="its process runs", actor=ACTOR)
        if job.status == states.STARTING:
            move(session, job, states.RUNNING, f"attempt {attempt.number} runs")
    elif isinstance(body, wire.Progress):
        job.progress = {"step": body.step, "total_steps": body.total_steps, "phase": body.phase}
        if body.step >= 1 and job.first_step_at is None:
            job.first_step_at = report.received_at
    elif isinstance(body, wire.CheckpointSaved):
        _keep_checkpoint(session, scope, job, attempt, body)
    elif isinstance(body, wire.ResultSaved):
        attempt.result = msgspec.to_builtins(body)


def _keep_checkpoint(session: Session, scope: Scope, job: Job, attempt: Attempt, saved: wire.CheckpointSaved) -> None:
    repository = JobRepository(session, scope)
    if not repository.checkpoint_exists(attempt.id, saved.step):
        repository.add(
            Checkpoint(
                organization_id=scope.organization_id,
                job_id=job.id,
                attempt_id=attempt.id,
                step=saved.step,
                files=msgspec.to_builtins(saved.files),
            )
        )


def _ask(session: Session, scope: Scope, job: Job, attempt: Attempt, state: AssignmentState, now: datetime) -> datetime:
    """A user wants it stopped, or its instance is to go: the agent is told once."""
    if job.stop_requested_at is not None and job.status in (states.STARTING, states.RUNNING):
        fleet.ask_to_stop(session, scope, attempt.assignment_id, "a user asked to stop")
        move(session, job, states.STOPPING, "asked to stop; a checkpoint is written first")
        return now + SOON
    if state.instance.drain_requested_at is not None and state.assignment.desired == "run":
        fleet.ask_to_stop(session, scope, attempt.assignment_id, "its instance is drained")
    return now + LOOK_AGAIN


def _lost(
    session: Session, scope: Scope, job: Job, attempt: Attempt, state: AssignmentState, now: datetime
) -> datetime | None:
    """The assignment is closed at its last heartbeat; the job, not the attempt, goes on."""
    fleet.close_assignment(session, scope, attempt.assignment_id)
    failure = {
        "failure_class": "interruption",
        "reason": f"attempt {attempt.number} was lost: {state.loss_reason}",
        "hint": "it goes on from its newest checkpoint on another instance",
    }
    end_attempt(session, attempt, states.INTERRUPTED, failure["reason"], failure)
    return _after_interruption(session, scope, job, now, failure)


def _end(
    session: Session, scope: Scope, job: Job, attempt: Attempt, state: AssignmentState, report: Report
) -> datetime | None:
    """The agent said how it ended."""
    ended = msgspec.convert(report.body, wire.Ended)
    now = database_now(session)
    keep = job.keep_alive_seconds if ended.outcome != "failed" else 0
    fleet.close_assignment(
        session,
        scope,
        attempt.assignment_id,
        elapsed_seconds=report.elapsed_seconds,
        keep_alive_seconds=keep,
    )
    if ended.outcome == "completed":
        return _complete(session, scope, job, attempt)
    if ended.outcome == "stopped" and job.stop_requested_at is not None:
        end_attempt(session, attempt, states.STOPPED, "stopped as asked")
        move_through_running(session, job)
        move(session, job, states.STOPPED, "stopped as asked")
        job.ended_at = now
        return None
    failure = msgspec.to_builtins(ended.failure) if ended.failure is not None else _unexplained(state, ended)
    if failure["failure_class"] in TRIED_AGAIN:
        end_attempt(session, attempt, states.INTERRUPTED, failure["reason"], failure)
        return _after_interruption(session, scope, job, now, failure)
    end_attempt(session, attempt, states.FAILED, failure["reason"], failure)
    fail(session, job, failure)
    return None


def _unexplained(state: AssignmentState, ended: wire.Ended) -> dict[str, Any]:
    why = state.assignment.stop_reason or state.instance.status_reason
    return {
        "failure_class": "interruption" if ended.outcome == "stopped" else "platform",
        "reason": f"the agent ended it ({ended.outcome}): {why}",
        "hint": None,
    }


def _complete(session: Session, scope: Scope, job: Job, attempt: Attempt) -> datetime | None:
    if attempt.result is None:
        failure: dict[str, Any] = {
            "failure_class": "platform",
            "reason": "the job process ended well but left no result",
            "hint": "this is a fault of the platform; the log may say more",
        }
        end_attempt(session, attempt, states.FAILED, failure["reason"], failure)
        fail(session, job, failure)
        return None
    result = msgspec.convert(attempt.result, wire.ResultSaved)
    try:
        with session.begin_nested():
            job.output = kind_of(job.kind).complete(session, scope, job, attempt, result)
    except ResultUnusable as error:
        failure = {"failure_class": "platform", "reason": str(error), "hint": None}
        end_attempt(session, attempt, states.FAILED, failure["reason"], failure)
        fail(session, job, failure)
        return None
    end_attempt(session, attempt, states.COMPLETED, "completed")
    job.ended_at = database_now(session)
    move(session, job, states.COMPLETED, "completed")
    return None


def _after_interruption(
    session: Session, scope: Scope, job: Job, now: datetime, failure: dict[str, Any]
) -> datetime | None:
    if job.stop_requested_at is not None:
        move_through_running(session, job)
        move(session, job, states.STOPPED, "stopped as asked; its attempt had ended already")
        job.ended_at = now
        return None
    if job.attempt_count >= job.max_attempts:
        exhausted = {
            **failure,
            "reason": f"{failure['reason']} (attempt {job.attempt_count} of {job.max_attempts})",
        }
        fail(session, job, exhausted)
        return None
    checkpoint = JobRepository(session, scope).newest_checkpoint(job.id)
    resume = f"resumes from step {checkpoint.step}" if checkpoint is not None else "starts over"
    return _queue_again(session, job, now, f"{failure['reason']}; {resume}")


def _queue_again(session: Session, job: Job, now: datetime, reason: str) -> datetime:
    move(session, job, states.QUEUED, reason)
    return now


def move_through_running(session: Session, job: Job) -> None:
    """A stop that was asked for while the controller was not looking: the asking is recorded too."""
    if job.status in (states.STARTING, states.RUNNING):
        move(session, job, states.STOPPING, "asked to stop")
