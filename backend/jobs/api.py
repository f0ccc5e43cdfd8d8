"""REST routes shared by all kinds of job: list, read, follow, stop."""

import math
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, status
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from backend.core.http import Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.core.storage import CHUNK_BYTES, StorageUnavailable
from backend.jobs import logs, metrics, service
from backend.jobs.errors import SUBMITTED, JobAlreadyFinished, JobNotFound
from backend.jobs.models import Job
from backend.jobs.repository import JobFilter
from backend.jobs.schemas import (
    AttemptRead,
    Attempts,
    AttemptUtilisation,
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
    UtilisationRead,
    UtilisationSummaryRead,
)
from backend.jobs.thinning import FEWEST

router = APIRouter(prefix="/api/v1", tags=["jobs"])

JobStatus = Literal["queued", "provisioning", "starting", "running", "stopping", "completed", "failed", "stopped"]
SeriesName = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="only this series")]
EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/jsonl": {"schema": {"type": "string"}}},
    }
}
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
    name: Annotated[
        Short,
        Query(description="part of the name; one page looks at 100,000 jobs and may be short: go on with its cursor"),
    ] = None,
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
    session: Transaction,
    principal: Reader,
    job_id: UUID,
    name: SeriesName = None,
    after_step: Annotated[int | None, Query(ge=-(2**63), lt=2**63, description="only points of later steps")] = None,
    max_points: Annotated[
        int | None, Query(ge=FEWEST, le=100_000, description="thin each series to so many points that look the same")
    ] = None,
) -> MetricsRead:
    """Points of all series, or of one. A value that is no number is null.

    To follow a job, ask for what comes after the last step you have; an attempt that resumes from a checkpoint says
    steps again, and only a reader of all points sees those replaced.
    """
    service.get_job(session, principal.scope, job_id)
    series = metrics.read_metrics(session, principal.scope, job_id, name, after_step=after_step, max_points=max_points)
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


@router.get(
    "/jobs/{job_id}/metrics/export", response_class=StreamingResponse, responses={**EXPORTS, **raises(JobNotFound)}
)
def export_metrics(
    session: Transaction,
    principal: Reader,
    job_id: UUID,
    format: metrics.ExportFormat = "csv",  # noqa: A002 - the parameter's public name
    name: SeriesName = None,
) -> StreamingResponse:
    """Every point of all series, or of one, as a file: CSV with a header, or JSON lines; by name and step."""
    service.get_job(session, principal.scope, job_id)
    file = metrics.export_metrics(session, principal.scope, job_id, format, name)
    return StreamingResponse(
        iter(partial(file.read, CHUNK_BYTES), b""),
        media_type=metrics.MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="metrics-{job_id}.{format}"'},
        background=BackgroundTask(file.close),
    )


@router.get("/jobs/{job_id}/utilisation", responses=raises(JobNotFound))
def read_utilisation(
    session: Transaction,
    principal: Reader,
    job_id: UUID,
    max_points: Annotated[int, Query(ge=FEWEST, le=100_000, description="merge samples to at most so many")] = 500,
) -> UtilisationRead:
    """What its attempts used of their instances: cores, memory, disks, GPUs; kept for 90 days."""
    service.get_job(session, principal.scope, job_id)
    found = service.read_utilisation(session, principal.scope, job_id)
    return UtilisationRead(
        items=[
            AttemptUtilisation(
                attempt=attempt.number,
                attempt_id=attempt.id,
                summary=UtilisationSummaryRead.model_validate(use.summary()),
                **vars(use.thinned(max_points)),
            )
            for attempt, use in found
        ]
    )


@router.get("/jobs/{job_id}/logs", responses=raises(JobNotFound, StorageUnavailable))
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
