"""All SQL of the job engine, within one organization."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Double, Row, Select, any_, column, func, insert, or_, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from backend.core.db import Scope
from backend.core.ids import new_id
from backend.core.lifecycle import Event
from backend.core.names import find_named
from backend.core.pagination import PageRequest, fetch_page, fetch_sifted
from backend.jobs import states
from backend.jobs.models import Attempt, Checkpoint, Job, LogChunk, MetricChunk

POINTS_PER_PAGE = 10_000
Order = Literal["created_at", "name"]
ORDERS: dict[Order, list[InstrumentedAttribute[Any]]] = {
    "created_at": [Job.created_at, Job.id],
    "name": [Job.name],
}
"""Sort keys, each with an index behind it; the last is unique."""
LOOKED_AT = 100_000
"""Names that a search reads before it answers: row-level security forbids an index on parts of them."""
MetricPoint = tuple[str, int, float, float]
"""Name, step, value, Unix seconds."""


@dataclass(frozen=True)
class JobFilter:
    """What a list is narrowed to; None = any."""

    project_id: UUID | None = None
    kind: str | None = None
    status: str | None = None
    name_contains: str | None = None


class JobRepository:
    """Jobs, attempts, checkpoints, metrics, logs and events of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    def add(self, *rows: object) -> None:
        """Insert rows of this organization, those of a table together."""
        self._session.add_all(rows)
        self._session.flush()

    def job(self, job_id: UUID, *, lock: bool = False) -> Job | None:
        """One job."""
        query = self._jobs().where(Job.id == job_id)
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()

    def jobs(self, job_ids: Collection[UUID]) -> dict[UUID, Job]:
        """Jobs by id; ids of none are left out."""
        return {job.id: job for job in self._session.scalars(self._jobs().where(Job.id.in_(job_ids)))}

    def page(
        self, where: JobFilter, page: PageRequest, *, order: Order = "created_at", descending: bool = True
    ) -> tuple[list[Job], str | None]:
        """Newest first unless `order` says otherwise, and the cursor of the next page.

        Of names that hold some words, one page looks at `LOOKED_AT` jobs: it may end before it is full, with a cursor.
        """
        query = self._jobs()
        if where.project_id is not None:
            query = query.where(Job.project_id == where.project_id)
        if where.kind is not None:
            query = query.where(Job.kind == where.kind)
        if where.status is not None:
            query = query.where(Job.status == where.status)
        keys, words = ORDERS[order], where.name_contains
        if not words:
            return fetch_page(self._session, query, page, keys=keys, descending=descending)

        def holds(job: type[Job]) -> ColumnElement[bool]:
            return job.name.icontains(words, autoescape=True)

        return fetch_sifted(self._session, query, holds, page, keys=keys, descending=descending, among=LOOKED_AT)

    def completed_runs(self, kind: str, instance_type: str, *, among: int) -> Sequence[Job]:
        """Of the newest `among` jobs of a kind, those that completed on this instance type in one attempt."""
        newest = (
            self._jobs().where(Job.kind == kind).order_by(Job.created_at.desc(), Job.id.desc()).limit(among).subquery()
        )
        job = aliased(Job, newest)
        query = select(job).where(
            job.status == states.COMPLETED, job.instance_type == instance_type, job.attempt_count == 1
        )
        return self._session.scalars(query.order_by(job.created_at.desc())).all()

    def names_taken(self, names: Sequence[str]) -> set[str]:
        """Those of the names that jobs have."""
        query = self._jobs().with_only_columns(Job.name).where(Job.name.in_(names))
        return set(self._session.scalars(query))

    def named(self, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
        """(id, name, status, kind) of jobs by name, see `core.names`."""
        mine = select(Job.id, Job.name, Job.status, Job.kind).where(Job.organization_id == self._organization_id)
        return find_named(
            self._session, mine, name=Job.name, newest=[Job.created_at.desc(), Job.id.desc()], words=words, limit=limit
        )

    def count_unfinished(self) -> int:
        """Jobs that have not ended."""
        query = self._jobs().where(Job.status.in_(states.UNFINISHED)).with_only_columns(func.count())
        return self._session.scalar(query) or 0

    # --- attempts ---------------------------------------------------------------------------------

    def attempt(self, attempt_id: UUID) -> Attempt | None:
        """One attempt."""
        return self._session.scalars(
            select(Attempt).where(Attempt.organization_id == self._organization_id, Attempt.id == attempt_id)
        ).one_or_none()

    def attempts(self, job_id: UUID) -> Sequence[Attempt]:
        """First to last."""
        return self._session.scalars(
            select(Attempt)
            .where(Attempt.organization_id == self._organization_id, Attempt.job_id == job_id)
            .order_by(Attempt.number)
        ).all()

    def open_attempt(self, job_id: UUID) -> Attempt | None:
        """The attempt that has not ended."""
        return self._session.scalars(
            select(Attempt).where(
                Attempt.organization_id == self._organization_id,
                Attempt.job_id == job_id,
                Attempt.ended_at.is_(None),
            )
        ).one_or_none()

    # --- what attempts leave --------------------------------------------------------------------------

    def newest_checkpoint(self, job_id: UUID) -> Checkpoint | None:
        """The complete checkpoint with the highest step."""
        return self._session.scalars(
            select(Checkpoint)
            .where(Checkpoint.organization_id == self._organization_id, Checkpoint.job_id == job_id)
            .order_by(Checkpoint.step.desc(), Checkpoint.created_at.desc())
            .limit(1)
        ).one_or_none()

    def newest_checkpoints(self, job_ids: Sequence[UUID]) -> dict[UUID, Checkpoint]:
        """The same for many jobs, by job; those without one are left out."""
        if not job_ids:
            return {}
        rows = self._session.scalars(
            select(Checkpoint)
            .where(Checkpoint.organization_id == self._organization_id, Checkpoint.job_id.in_(job_ids))
            .ext(distinct_on(Checkpoint.job_id))
            .order_by(Checkpoint.job_id, Checkpoint.step.desc(), Checkpoint.created_at.desc())
        )
        return {row.job_id: row for row in rows}

    def checkpoint_exists(self, attempt_id: UUID, step: int) -> bool:
        """Whether this attempt's checkpoint is recorded."""
        query = select(func.count()).where(
            Checkpoint.organization_id == self._organization_id,
            Checkpoint.attempt_id == attempt_id,
            Checkpoint.step == step,
        )
        return bool(self._session.scalar(query))

    def checkpoints(self, job_id: UUID) -> Sequence[Checkpoint]:
        """By step."""
        return self._session.scalars(
            select(Checkpoint)
            .where(Checkpoint.organization_id == self._organization_id, Checkpoint.job_id == job_id)
            .order_by(Checkpoint.step)
        ).all()

    def add_metric_chunks(
        self, attempt: Attempt, *, epoch: int, seq: int, rows: Sequence[Mapping[str, object]]
    ) -> None:
        """Insert the chunks of one report: a row per series with `name`, `steps`, `values`, `times`."""
        owned = {
            "organization_id": self._organization_id,
            "job_id": attempt.job_id,
            "attempt_id": attempt.id,
            "epoch": epoch,
            "seq": seq,
        }
        if rows:
            self._session.execute(insert(MetricChunk), [{"id": new_id(), **owned, **row} for row in rows])

    def metric_chunks(
        self, job_id: UUID, name: str | None, *, after_step: int | None = None
    ) -> Sequence[Row[str, list[int], list[float], list[float]]]:
        """(name, steps, values, times) in the order they were said; only chunks with a step after `after_step`."""
        query = (
            select(MetricChunk.name, MetricChunk.steps, MetricChunk.values, MetricChunk.times)
            .where(MetricChunk.organization_id == self._organization_id, MetricChunk.job_id == job_id)
            .order_by(MetricChunk.name, MetricChunk.id)
        )
        if name is not None:
            query = query.where(MetricChunk.name == name)
        if after_step is not None:
            query = query.where(after_step < any_(MetricChunk.steps))
        return self._session.execute(query).all()

    def last_points(self, job_id: UUID) -> dict[str, float]:
        """The value that each series said last."""
        last = func.array_upper(MetricChunk.values, 1)
        rows = self._session.execute(
            select(MetricChunk.name, MetricChunk.values[last])
            .where(
                MetricChunk.organization_id == self._organization_id,
                MetricChunk.job_id == job_id,
                func.cardinality(MetricChunk.values) > 0,
            )
            .ext(distinct_on(MetricChunk.name))
            .order_by(MetricChunk.name, MetricChunk.id.desc())
        )
        return {row[0]: row[1] for row in rows}

    def metric_names(self, job_id: UUID) -> Sequence[str]:
        """Of all series, in order."""
        query = select(MetricChunk.name).where(
            MetricChunk.organization_id == self._organization_id, MetricChunk.job_id == job_id
        )
        return self._session.scalars(query.distinct().order_by(MetricChunk.name)).all()

    def metric_points(self, job_id: UUID, name: str) -> Iterator[Sequence[MetricPoint]]:
        """Every point of a series by step, as said last, in pages; PostgreSQL sorts, so memory here stays flat."""
        point = func.unnest(MetricChunk.steps, MetricChunk.values, MetricChunk.times).table_valued(
            column("step", BigInteger), column("value", Double), column("time", Double)
        )
        point = point.render_derived()
        query = (
            select(MetricChunk.name, point.c.step, point.c.value, point.c.time)
            .join(point, true())
            .where(
                MetricChunk.organization_id == self._organization_id,
                MetricChunk.job_id == job_id,
                MetricChunk.name == name,
            )
            .ext(distinct_on(point.c.step))
            .order_by(point.c.step, MetricChunk.id.desc())
        )
        found = self._session.execute(query.execution_options(stream_results=True, yield_per=POINTS_PER_PAGE))
        for page in found.partitions():
            yield [(row[0], row[1], row[2], row[3]) for row in page]

    def count_metric_chunks(self, job_id: UUID) -> int:
        """How many chunks there are: they are only ever added, so it changes with every report."""
        query = select(func.count()).where(
            MetricChunk.organization_id == self._organization_id, MetricChunk.job_id == job_id
        )
        return self._session.scalar(query) or 0

    def log_chunks(self, job_id: UUID, *, after: UUID | None, limit: int) -> Sequence[LogChunk]:
        """Oldest first, after a chunk already read. Chunk ids grow with time."""
        query = (
            select(LogChunk)
            .where(LogChunk.organization_id == self._organization_id, LogChunk.job_id == job_id)
            .order_by(LogChunk.attempt_number, LogChunk.id)
            .limit(limit)
        )
        if after is not None:
            query = query.where(LogChunk.id > after)
        return self._session.scalars(query).all()

    def last_log_chunks(self, job_id: UUID, *, limit: int) -> Sequence[LogChunk]:
        """The newest chunks, oldest first."""
        rows = self._session.scalars(
            select(LogChunk)
            .where(LogChunk.organization_id == self._organization_id, LogChunk.job_id == job_id)
            .order_by(LogChunk.id.desc())
            .limit(limit)
        ).all()
        return list(reversed(rows))

    def events(self, resource_ids: Sequence[UUID]) -> Sequence[Event]:
        """Status changes of a job and its attempts, oldest first."""
        return self._session.scalars(
            select(Event)
            .where(
                Event.organization_id == self._organization_id,
                or_(Event.resource_kind == "job", Event.resource_kind == "attempt"),
                Event.resource_id.in_(resource_ids),
            )
            .order_by(Event.at, Event.id)
        ).all()

    def _jobs(self) -> Select[Job]:
        return select(Job).where(Job.organization_id == self._organization_id)


def open_assignments(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Unscoped, for the sweep: assignment of the open attempt → job. Needs the controller role."""
    rows = session.execute(
        select(Attempt.assignment_id, Attempt.job_id).where(Attempt.job_id.in_(job_ids), Attempt.ended_at.is_(None))
    )
    return {row.assignment_id: row.job_id for row in rows}
