"""What the admin console reads of all organizations' jobs. Role *operator*, which only reads; unscoped on purpose.

Pages go by id: ids are UUIDv7, so the primary key has all tenants' jobs newest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, literal_column, select
from sqlalchemy.orm import Session

from backend.core.pagination import PageRequest, fetch_page
from backend.jobs.models import Job

UNFINISHED: ColumnElement[bool] = literal_column("jobs.status NOT IN ('completed', 'failed', 'stopped')")
"""As the index `ix_jobs_unfinished` has it, word for word."""
FAILED: ColumnElement[bool] = literal_column("jobs.status = 'failed'")
"""As the index `ix_jobs_failed` has it."""
FAILURES_COUNTED = 10_000


@dataclass(frozen=True)
class ConsoleFilter:
    """What the list is narrowed to; `status` may be `unfinished`."""

    organization_id: UUID | None = None
    status: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class JobOwner:
    """Whose a job is, and how it is called."""

    organization_id: UUID
    name: str


def owner_of(session: Session, job_id: UUID) -> JobOwner | None:
    """Whose a job is; None where there is no such job."""
    row = session.execute(select(Job.organization_id, Job.name).where(Job.id == job_id)).one_or_none()
    return None if row is None else JobOwner(row[0], row[1])


def page(session: Session, where: ConsoleFilter, page: PageRequest) -> tuple[list[Job], str | None]:
    """Newest first, and the cursor of the next page. Raises InvalidCursor."""
    query = select(Job)
    if where.organization_id is not None:
        query = query.where(Job.organization_id == where.organization_id)
    if where.status == "unfinished":
        query = query.where(UNFINISHED)
    elif where.status is not None:
        query = query.where(Job.status == where.status)
    if where.kind is not None:
        query = query.where(Job.kind == where.kind)
    return fetch_page(session, query, page, keys=[Job.id], sorts={"created_at": [Job.id]})


def queue(session: Session) -> Sequence[Row[str, int, datetime]]:
    """(status, how many, since when the oldest) of jobs that have not ended."""
    return session.execute(
        select(Job.status, func.count(), func.min(Job.created_at)).where(UNFINISHED).group_by(Job.status)
    ).all()


def unfinished_by_organization(session: Session) -> dict[UUID, int]:
    """How many jobs of each organization have not ended."""
    rows = session.execute(select(Job.organization_id, func.count()).where(UNFINISHED).group_by(Job.organization_id))
    return {row[0]: row[1] for row in rows}


def failures_since(session: Session, since: UUID) -> Sequence[Row[str, int]]:
    """(failure class, how many) of jobs that were made after the id `since` and failed; most first.

    Counted are the newest `FAILURES_COUNTED`.
    """
    of_class = func.coalesce(Job.failure.op("->>")("failure_class"), "unknown").label("of_class")
    newest = select(of_class).where(Job.id > since, FAILED).order_by(Job.id.desc()).limit(FAILURES_COUNTED).subquery()
    count = func.count()
    found = select(newest.c.of_class, count).group_by(newest.c.of_class).order_by(count.desc(), newest.c.of_class)
    return session.execute(found).all()


def newest_failures(session: Session, since: UUID, limit: int) -> Sequence[Job]:
    """Jobs that were made after the id `since` and failed, newest first."""
    return session.scalars(select(Job).where(Job.id > since, FAILED).order_by(Job.id.desc()).limit(limit)).all()
