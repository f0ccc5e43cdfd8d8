"""The job controller: one step of one job, inside the transaction of the lease's holder. The only writer of status."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from backend.billing.service import open_hold
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.ids import new_id
from backend.core.lifecycle import record_creation
from backend.core.settings import Settings
from backend.fleet import service as fleet
from backend.fleet.errors import QuotaExceeded
from backend.fleet.models import Instance
from backend.fleet.states import TERMINATED, TERMINATING
from backend.jobs import specs, states
from backend.jobs.following import follow
from backend.jobs.models import Attempt, Job
from backend.jobs.moves import ACTOR, fail, move
from backend.jobs.repository import JobRepository

SOON: Final = timedelta(seconds=1)
LATER: Final = timedelta(seconds=5)
MAX_FAILED_REQUESTS: Final = 3


def step(session: Session, scope: Scope, job: Job, settings: Settings) -> datetime | None:
    """Move the job as far as it can go now; returns when to look again, None = never."""
    if job.status in states.FINAL:
        return None
    if job.status in (states.QUEUED, states.PROVISIONING):
        return _place(session, scope, job)
    return follow(session, scope, job, settings)


def _place(session: Session, scope: Scope, job: Job) -> datetime | None:
    """Stop asked? Spending held? An idle instance? One on its way? Room for one?"""
    now = database_now(session)
    if job.stop_requested_at is not None:
        fleet.give_up_request(session, scope, job.id)
        move(session, job, states.STOPPED, "stopped before it started")
        job.ended_at = now
        return None
    hold = open_hold(session, scope, job.project_id)
    if hold is not None:
        fleet.give_up_request(session, scope, job.id)
        _wait(session, job, f"spending is on hold: {hold.reason}")
        return now + LATER
    instance = fleet.find_idle_instance(
        session,
        scope,
        project_id=job.project_id,
        instance_type=job.instance_type,
        market=job.market,
        subject_id=job.id,
    )
    if instance is not None:
        _start_attempt(session, scope, job, instance)
        return now + LATER
    return _await_instance(session, scope, job, now)


def _await_instance(session: Session, scope: Scope, job: Job, now: datetime) -> datetime | None:
    asked = fleet.requested_instance(session, scope, job.id)
    if asked is not None and asked.status not in (TERMINATING, TERMINATED):
        job.status_reason = f"its {asked.instance_type} instance is {asked.status}: {asked.status_reason}"
        return now + SOON
    failures = fleet.count_failed_requests(session, scope, job.id)
    if failures >= MAX_FAILED_REQUESTS:
        assert asked is not None  # noqa: S101 - a failed request is a row
        fail(
            session,
            job,
            {
                "failure_class": "capacity",
                "reason": f"no {job.instance_type} instance could be had: {asked.status_reason}",
                "hint": "try another instance type, or try again later",
            },
        )
        return None
    try:
        fleet.request_instance(
            session,
            scope,
            project_id=job.project_id,
            instance_type=job.instance_type,
            market=job.market,
            requested_for=job.id,
        )
    except QuotaExceeded as full:
        _wait(session, job, f"waiting for quota: {full.detail}")
        return now + SOON
    if job.status == states.QUEUED:
        move(session, job, states.PROVISIONING, f"a {job.instance_type} instance was asked for")
    return now + SOON


def _wait(session: Session, job: Job, reason: str) -> None:
    """No instance is on its way for it: queued, and why."""
    if job.status == states.PROVISIONING:
        move(session, job, states.QUEUED, reason)
    job.status_reason = reason


def _start_attempt(session: Session, scope: Scope, job: Job, instance: Instance) -> None:
    repository = JobRepository(session, scope)
    checkpoint = repository.newest_checkpoint(job.id)
    job.attempt_count += 1
    attempt = Attempt(
        id=new_id(),
        organization_id=scope.organization_id,
        job_id=job.id,
        number=job.attempt_count,
        instance_id=instance.id,
        status=states.STARTING,
        status_reason="the agent fetches the inputs",
        resumed_from_step=checkpoint.step if checkpoint is not None else None,
    )
    spec = specs.attempt_spec(session, scope, job, attempt, checkpoint)
    assignment = fleet.assign(
        session,
        scope,
        instance,
        subject_kind="attempt",
        subject_id=attempt.id,
        project_id=job.project_id,
        resource_kind="job",
        resource_id=job.id,
        resource_name=job.name,
        spec=spec,
    )
    attempt.assignment_id = assignment.id
    repository.add(attempt)
    record_creation(session, "attempt", attempt, reason=f"placed on instance {instance.id}", actor=ACTOR)
    move(session, job, states.STARTING, f"attempt {attempt.number} starts")
