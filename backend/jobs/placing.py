"""Placing jobs that wait, many of one tenant at a time: a question is asked once for all of them, not once for each.

Stop asked? Spending held? An idle instance? One on its way? Room for one?
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing.service import open_hold
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.ids import new_id
from backend.core.lifecycle import record_creation
from backend.fleet import service as fleet
from backend.fleet.errors import QuotaExceeded
from backend.fleet.models import Instance
from backend.fleet.states import TERMINATED, TERMINATING
from backend.jobs import specs, states
from backend.jobs.models import Attempt, Checkpoint, Job
from backend.jobs.moves import ACTOR, fail, move
from backend.jobs.repository import JobRepository

SOON: Final = timedelta(seconds=1)
LATER: Final = timedelta(seconds=5)
MAX_FAILED_REQUESTS: Final = 3


def place(session: Session, scope: Scope, jobs: Sequence[Job]) -> dict[UUID, datetime | None]:
    """One look at jobs that wait, those due first served first; returns when to look at each again, None = never."""
    if not jobs:
        return {}
    now = database_now(session)
    due_at = _stop_or_hold(session, scope, jobs, now)
    able = [job for job in jobs if job.id not in due_at]
    idle = fleet.take_idle_instances(
        session,
        scope,
        [
            fleet.Want(subject_id=job.id, project_id=job.project_id, instance_type=job.instance_type, market=job.market)
            for job in able
        ],
    )
    _start_attempts(session, scope, [(job, idle[job.id]) for job in able if job.id in idle])
    due_at |= dict.fromkeys(idle, now + LATER)
    return due_at | _await_instances(session, scope, [job for job in able if job.id not in idle], now)


def _stop_or_hold(session: Session, scope: Scope, jobs: Sequence[Job], now: datetime) -> dict[UUID, datetime | None]:
    """Jobs that a user or a budget keeps from running."""
    due_at: dict[UUID, datetime | None] = {}
    holds = {project_id: open_hold(session, scope, project_id) for project_id in {job.project_id for job in jobs}}
    for job in jobs:
        hold = holds[job.project_id]
        if job.stop_requested_at is not None:
            fleet.give_up_request(session, scope, job.id)
            move(session, job, states.STOPPED, "stopped before it started")
            job.ended_at = now
            due_at[job.id] = None
        elif hold is not None:
            fleet.give_up_request(session, scope, job.id)
            _wait(session, job, f"spending is on hold: {hold.reason}")
            due_at[job.id] = now + LATER
    return due_at


def _await_instances(session: Session, scope: Scope, jobs: Sequence[Job], now: datetime) -> dict[UUID, datetime | None]:
    """No instance is idle for them: one is on its way, or is asked for now."""
    due_at: dict[UUID, datetime | None] = dict.fromkeys((job.id for job in jobs), now + SOON)
    asked = fleet.requested_instances(session, scope, [job.id for job in jobs])
    # Quotas are locked by the first request that looks at them: what did not fit then does not fit a moment later.
    full: dict[str, QuotaExceeded] = {}
    for job in jobs:
        instance = asked.get(job.id)
        if instance is not None and instance.status not in (TERMINATING, TERMINATED):
            job.status_reason = f"its {instance.instance_type} instance is {instance.status}: {instance.status_reason}"
        elif instance is not None and fleet.count_failed_requests(session, scope, job.id) >= MAX_FAILED_REQUESTS:
            _give_up(session, job, instance)
            due_at[job.id] = None
        elif job.instance_type in full:
            _wait(session, job, f"waiting for quota: {full[job.instance_type].detail}")
        else:
            try:
                _ask(session, scope, job)
            except QuotaExceeded as error:
                full[job.instance_type] = error
                _wait(session, job, f"waiting for quota: {error.detail}")
    return due_at


def _ask(session: Session, scope: Scope, job: Job) -> None:
    fleet.request_instance(
        session,
        scope,
        project_id=job.project_id,
        instance_type=job.instance_type,
        market=job.market,
        requested_for=job.id,
    )
    if job.status == states.QUEUED:
        move(session, job, states.PROVISIONING, f"a {job.instance_type} instance was asked for")


def _give_up(session: Session, job: Job, instance: Instance) -> None:
    fail(
        session,
        job,
        {
            "failure_class": "capacity",
            "reason": f"no {job.instance_type} instance could be had: {instance.status_reason}",
            "hint": "try another instance type, or try again later",
        },
    )


def _wait(session: Session, job: Job, reason: str) -> None:
    """No instance is on its way for it: queued, and why."""
    if job.status == states.PROVISIONING:
        move(session, job, states.QUEUED, reason)
    job.status_reason = reason


def _start_attempts(session: Session, scope: Scope, pairs: Sequence[tuple[Job, Instance]]) -> None:
    """An attempt of each job on its instance. All rows go to Postgres together."""
    if not pairs:
        return
    repository = JobRepository(session, scope)
    # A job that was never tried has no checkpoint.
    checkpoints = repository.newest_checkpoints([job.id for job, _ in pairs if job.attempt_count > 0])
    names = {job.instance_type for job, _ in pairs}
    shapes = {name: fleet.get_instance_type(session, scope, name) for name in names}
    attempts: list[Attempt] = []
    work: list[fleet.Work] = []
    for job, instance in pairs:
        checkpoint = checkpoints.get(job.id)
        attempts.append(_attempt(scope, job, instance, checkpoint))
        work.append(
            fleet.Work(
                instance=instance,
                subject_kind="attempt",
                subject_id=attempts[-1].id,
                project_id=job.project_id,
                resource_kind="job",
                resource_id=job.id,
                resource_name=job.name,
                spec=specs.attempt_spec(session, scope, job, attempts[-1], checkpoint, shapes[job.instance_type]),
            )
        )
    for attempt, assignment in zip(attempts, fleet.assign_all(session, scope, work), strict=True):
        attempt.assignment_id = assignment.id
    for (job, instance), attempt in zip(pairs, attempts, strict=True):
        job.attempt_count = attempt.number
        record_creation(session, "attempt", attempt, reason=f"placed on instance {instance.id}", actor=ACTOR)
        move(session, job, states.STARTING, f"attempt {attempt.number} starts")
    repository.add(*attempts)


def _attempt(scope: Scope, job: Job, instance: Instance, checkpoint: Checkpoint | None) -> Attempt:
    return Attempt(
        id=new_id(),
        organization_id=scope.organization_id,
        job_id=job.id,
        number=job.attempt_count + 1,
        instance_id=instance.id,
        status=states.STARTING,
        status_reason="the agent fetches the inputs",
        resumed_from_step=checkpoint.step if checkpoint is not None else None,
    )
