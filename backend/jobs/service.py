"""Use cases of the job engine: submit, list, read, stop. Status is the controller's (`backend.jobs.controller`)."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.audit.service import record as audit
from backend.billing.errors import SpendingOnHold
from backend.billing.service import open_hold
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.ids import new_id
from backend.core.lifecycle import Event, record_creation
from backend.core.pagination import PageRequest
from backend.fleet import service as fleet
from backend.jobs import states
from backend.jobs.errors import JobAlreadyFinished, JobNameTaken, JobNotFound
from backend.jobs.kinds import kind_of
from backend.jobs.models import Attempt, Checkpoint, Job
from backend.jobs.repository import JobFilter, JobRepository, Order
from backend.jobs.schemas import JobRequest
from backend.projects.service import get_project

CONTROL = Doorbell("jobs.control")
LONGEST_NAME, MOST_DIGITS, NAMES_TRIED = 63, 6, 50
LIKE_AMONG = 500
"""Newest jobs of a kind among which like ones are looked for: bounded, however many there are."""


def submit_job(
    session: Session,
    principal: Principal,
    request: JobRequest,
    *,
    kind: str,
    parameters: dict[str, Any],
    inputs: dict[str, Any],
    output: dict[str, Any],
) -> Job:
    """A new job, queued. Raises what the kind's check raises, JobNameTaken, SpendingOnHold, InstanceTypeUnknown."""
    scope = principal.scope
    get_project(session, scope, request.project_id)
    fleet.get_instance_type(session, scope, request.instance_type)
    kind_of(kind).check(session, scope, parameters, inputs)
    hold = open_hold(session, scope, request.project_id)
    if hold is not None:
        raise SpendingOnHold(f"new spending is on hold: {hold.reason}", hint="raise the budget or lift the hold")
    job = Job(
        id=new_id(),
        organization_id=scope.organization_id,
        kind=kind,
        parameters=parameters,
        inputs=inputs,
        output=output,
        status=states.QUEUED,
        status_reason="waiting for placement",
        created_by=principal.actor,
        due_at=database_now(session),
        **{name: getattr(request, name) for name in JobRequest.model_fields},
    )
    _insert(session, JobRepository(session, scope), job)
    record_creation(session, "job", job, reason="submitted", actor=principal.actor)
    audit(
        session,
        principal,
        scope,
        action="job.submit",
        resource_kind="job",
        resource_id=job.id,
        detail={"name": job.name},
    )
    ring_after_commit(session, CONTROL)
    return job


def _insert(session: Session, repository: JobRepository, job: Job) -> None:
    try:
        with session.begin_nested():
            repository.add(job)
    except IntegrityError as error:
        if "uq_jobs_organization_id" in str(error.orig):
            raise JobNameTaken(
                f"a job named '{job.name}' exists", hint="job names are unique per organization"
            ) from None
        raise


def get_job(session: Session, scope: Scope, job_id: UUID) -> Job:
    """One job. Raises JobNotFound."""
    job = JobRepository(session, scope).job(job_id)
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    return job


def find_jobs(session: Session, scope: Scope, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Jobs by id; ids of none are left out."""
    return JobRepository(session, scope).jobs(job_ids) if job_ids else {}


def list_jobs(
    session: Session,
    scope: Scope,
    where: JobFilter,
    page: PageRequest,
    *,
    order: Order = "created_at",
    descending: bool = True,
) -> tuple[list[Job], str | None]:
    """Newest first unless `order` says otherwise, and the cursor of the next page."""
    return JobRepository(session, scope).page(where, page, order=order, descending=descending)


def find_named(session: Session, scope: Scope, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
    """(id, name, status, kind) of up to `limit` jobs whose name holds `words`; see `core.names`."""
    return JobRepository(session, scope).named(words, limit)


def list_unfinished(session: Session, scope: Scope, limit: int) -> list[Job]:
    """Up to `limit` jobs that have not ended, newest first. One bounded question per status: each enters an index."""
    repository = JobRepository(session, scope)
    found = [
        job
        for status in states.UNFINISHED
        for job in repository.page(JobFilter(status=status), PageRequest(limit=limit))[0]
    ]
    return sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)[:limit]


def count_unfinished(session: Session, scope: Scope) -> int:
    """Jobs that have not ended."""
    return JobRepository(session, scope).count_unfinished()


def next_name(session: Session, scope: Scope, name: str) -> str:
    """A name like this one that no job has now: `digits-2` after `digits`, `digits-10` after `digits-9`."""
    base, _, number = name.rpartition("-")
    if not base or not number.isdecimal() or len(number) > MOST_DIGITS:
        base, number = name, "1"
    base = base[: LONGEST_NAME - MOST_DIGITS - 1].rstrip("-")
    for first in range(int(number) + 1, int(number) + 1 + NAMES_TRIED * 10, NAMES_TRIED):
        tried = [f"{base}-{each}" for each in range(first, first + NAMES_TRIED)]
        taken = JobRepository(session, scope).names_taken(tried)
        free = next((each for each in tried if each not in taken), None)
        if free is not None:
            return free
    return f"{base[: LONGEST_NAME - 9].rstrip('-')}-{new_id().hex[-8:]}"


def completed_runs(session: Session, scope: Scope, kind: str, instance_type: str) -> Sequence[Job]:
    """Jobs from whose durations a new one's can be told: completed at the first try, newest first."""
    return JobRepository(session, scope).completed_runs(kind, instance_type, among=LIKE_AMONG)


def request_stop(session: Session, principal: Principal, job_id: UUID) -> Job:
    """A user's intent (★4). Raises JobNotFound, JobAlreadyFinished; asking twice changes nothing."""
    return stop_for(session, principal, principal.scope, job_id)


def stop_for(session: Session, actor: Principal | str, scope: Scope, job_id: UUID) -> Job:
    """The same by somebody who acts in an organization that is not his: an operator. Raises as `request_stop`."""
    job = JobRepository(session, scope).job(job_id, lock=True)
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    if job.status in states.FINAL:
        raise JobAlreadyFinished(f"job '{job.name}' is {job.status} since {job.ended_at}")
    if job.stop_requested_at is None:
        now = database_now(session)
        job.stop_requested_at = now
        job.due_at = now
        audit(session, actor, scope, action="job.stop", resource_kind="job", resource_id=job.id, detail={})
        ring_after_commit(session, CONTROL)
    return job


def list_attempts(session: Session, scope: Scope, job_id: UUID) -> Sequence[Attempt]:
    """First to last."""
    return JobRepository(session, scope).attempts(job_id)


def read_utilisation(session: Session, scope: Scope, job_id: UUID) -> list[tuple[Attempt, fleet.Use]]:
    """What each attempt used of its instance, first to last; attempts that were not measured are left out."""
    attempts = JobRepository(session, scope).attempts(job_id)
    found = fleet.read_utilisation(session, scope, [attempt.assignment_id for attempt in attempts])
    return [(attempt, found[attempt.assignment_id]) for attempt in attempts if attempt.assignment_id in found]


def list_checkpoints(session: Session, scope: Scope, job_id: UUID) -> Sequence[Checkpoint]:
    """By step."""
    return JobRepository(session, scope).checkpoints(job_id)


def list_events(session: Session, scope: Scope, job_id: UUID) -> Sequence[Event]:
    """Status changes of the job and its attempts, oldest first."""
    repository = JobRepository(session, scope)
    ids = [job_id, *(attempt.id for attempt in repository.attempts(job_id))]
    return repository.events(ids)
