"""REST routes shared by all kinds of job: list, read, follow, stop."""

import math
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, status

from backend.core.http import Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.jobs import logs, service
from backend.jobs.errors import SUBMITTED, JobAlreadyFinished, JobNotFound
from backend.jobs.models import Job
from backend.jobs.repository import JobFilter
from backend.jobs.schemas import (
    AttemptRead,
    Attempts,
    CheckpointRead,
    Checkpoints,
    EventRead,
    Events,
    JobRead,
    LogLineRead,
    LogRead,
    MetricsRead,
    Progress,
    SeriesRead,
    SleepJobCreate,
)

router = APIRouter(prefix="/api/v1", tags=["jobs"])

JobStatus = Literal["queued", "provisioning", "starting", "running", "stopping", "completed", "failed", "stopped"]
Short = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


def job_read(job: Job) -> JobRead:
    """A row as the API shows it."""
    progress = Progress(**job.progress) if job.progress else None
    columns = {name: getattr(job, name) for name in JobRead.model_fields if name != "progress"}
    return JobRead(progress=progress, **columns)


@router.post("/sleep-jobs", status_code=status.HTTP_201_CREATED, responses=raises(*SUBMITTED))
def create_sleep_job(session: Transaction, principal: Writer, body: SleepJobCreate) -> JobRead:
    """A diagnostic job: exercises queue, placement, agent, sandbox and bill."""
    job = service.submit_job(
        session,
        principal,
        body,
        kind="sleep",
        parameters=body.parameters.model_dump(exclude_none=True),
        inputs={},
        output={},
    )
    return job_read(job)


@router.get("/jobs")
def list_jobs(
    session: Transaction,
    principal: Reader,
    page: PageParameters,
    project_id: UUID | None = None,
    kind: Short = None,
    status: JobStatus | None = None,
    name: Annotated[Short, Query(description="part of the name")] = None,
) -> Page[JobRead]:
    """Jobs of all kinds, newest first."""
    where = JobFilter(project_id=project_id, kind=kind, status=status, name_contains=name)
    rows, cursor = service.list_jobs(session, principal.scope, where, page)
    return Page(items=[job_read(row) for row in rows], next_cursor=cursor)


@router.get("/jobs/{job_id}", responses=raises(JobNotFound))
def get_job(session: Transaction, principal: Reader, job_id: UUID) -> JobRead:
    """One job."""
    return job_read(service.get_job(session, principal.scope, job_id))


@router.post(
    "/jobs/{job_id}/stop", status_code=status.HTTP_202_ACCEPTED, responses=raises(JobNotFound, JobAlreadyFinished)
)
def stop_job(session: Transaction, principal: Writer, job_id: UUID) -> JobRead:
    """Ask it to write a checkpoint and end."""
    return job_read(service.request_stop(session, principal, job_id))


@router.get("/jobs/{job_id}/attempts", responses=raises(JobNotFound))
def list_attempts(session: Transaction, principal: Reader, job_id: UUID) -> Attempts:
    """Its tries, first to last."""
    service.get_job(session, principal.scope, job_id)
    rows = service.list_attempts(session, principal.scope, job_id)
    return Attempts(items=[AttemptRead.model_validate(row) for row in rows])


@router.get("/jobs/{job_id}/events", responses=raises(JobNotFound))
def list_events(session: Transaction, principal: Reader, job_id: UUID) -> Events:
    """Status changes of the job and its attempts."""
    service.get_job(session, principal.scope, job_id)
    rows = service.list_events(session, principal.scope, job_id)
    return Events(items=[EventRead.model_validate(row) for row in rows])


@router.get("/jobs/{job_id}/checkpoints", responses=raises(JobNotFound))
def list_checkpoints(session: Transaction, principal: Reader, job_id: UUID) -> Checkpoints:
    """Its complete checkpoints."""
    service.get_job(session, principal.scope, job_id)
    rows = service.list_checkpoints(session, principal.scope, job_id)
    return Checkpoints(items=[CheckpointRead.model_validate(row) for row in rows])


@router.get("/jobs/{job_id}/metrics", responses=raises(JobNotFound))
def read_metrics(
    session: Transaction, principal: Reader, job_id: UUID, name: Annotated[str | None, Query(max_length=200)] = None
) -> MetricsRead:
    """Points of all series, or of one. A value that is no number is null."""
    service.get_job(session, principal.scope, job_id)
    series = service.read_metrics(session, principal.scope, job_id, name)
    return MetricsRead(
        series={
            key: SeriesRead(
                steps=each.steps,
                values=[value if math.isfinite(value) else None for value in each.values],
                times=each.times,
            )
            for key, each in series.items()
        }
    )


@router.get("/jobs/{job_id}/logs", responses=raises(JobNotFound))
def read_logs(
    request: Request,
    principal: Reader,
    job_id: UUID,
    after: UUID | None = None,
    tail: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> LogRead:
    """A page of the log after a chunk already read, or the newest lines."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        service.get_job(session, principal.scope, job_id)
        if tail and after is None:
            keys = logs.log_tail(session, principal.scope, job_id)
        else:
            keys = logs.log_page(session, principal.scope, job_id, after=after)
    lines = logs.read_lines(request.app.state.storage, keys)
    return LogRead(
        lines=[LogLineRead(attempt=line.attempt, time=line.time, text=line.text) for line in lines],
        next_after=keys.last or after,
        more=keys.more,
    )
