"""Tables of the job engine: jobs, attempts, checkpoints, metric chunks, log chunks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import (
    Base,
    Identified,
    Leased,
    Tagged,
    TenantOwned,
    Timestamped,
    tenant_key,
    tenant_reference,
)


class Job(Identified, TenantOwned, Tagged, Timestamped, Leased, Base):
    """Anything that runs on instances until it ends. The row is its own queue entry (★2)."""

    __tablename__ = "jobs"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        UniqueConstraint("organization_id", "name"),
        CheckConstraint("market in ('on-demand','spot')", name="market"),
        Index("ix_jobs_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_jobs_unfinished", "id", postgresql_where=text("status NOT IN ('completed', 'failed', 'stopped')")),
        Index("ix_jobs_failed", "id", postgresql_where=text("status = 'failed'")),
        Index("ix_jobs_list", "organization_id", "created_at", "id"),
        Index("ix_jobs_list_status", "organization_id", "status", "created_at", "id"),
        Index("ix_jobs_list_kind", "organization_id", "kind", "created_at", "id"),
        Index("ix_jobs_list_project", "organization_id", "project_id", "created_at", "id"),
        *(
            Index(f"ix_jobs_{column}", "organization_id", column, "id", postgresql_where=text(f"{column} IS NOT NULL"))
            for column in ("reads_dataset_version_id", "reads_model_version_id")
        ),
    )

    project_id: Mapped[UUID]
    kind: Mapped[str]
    name: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    inputs: Mapped[dict[str, Any]]
    """Channels by name: {"training": {"kind": "dataset", "id": …}}."""
    output: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the kind's controller made of the result, such as the model version's id."""
    instance_type: Mapped[str] = mapped_column(ForeignKey("instance_types.name"))
    market: Mapped[str]
    max_attempts: Mapped[int] = mapped_column(Integer)
    max_runtime_seconds: Mapped[int] = mapped_column(Integer)
    keep_alive_seconds: Mapped[int] = mapped_column(Integer)
    status: Mapped[str]
    status_reason: Mapped[str]
    failure: Mapped[dict[str, Any] | None]
    stop_requested_at: Mapped[datetime | None]
    attempt_count: Mapped[int] = mapped_column(Integer, server_default="0")
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """{"step", "total_steps", "phase"} as last reported."""
    created_by: Mapped[str]
    reads_dataset_version_id: Mapped[UUID | None] = mapped_column(
        Computed("coalesce(inputs -> 'training' ->> 'id', inputs -> 'dataset' ->> 'id')::uuid", persisted=True)
    )
    reads_model_version_id: Mapped[UUID | None] = mapped_column(
        Computed("(inputs -> 'model' ->> 'id')::uuid", persisted=True)
    )
    """Both of `inputs`, as columns of their own: an index over JSON cannot be entered below row-level security."""
    started_at: Mapped[datetime | None]
    first_step_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Attempt(Identified, TenantOwned, Timestamped, Base):
    """One try of a job on a concrete instance."""

    __tablename__ = "attempts"
    __table_args__ = (
        tenant_key(),
        tenant_reference("job_id", "jobs"),
        tenant_reference("instance_id", "instances"),
        UniqueConstraint("job_id", "number"),
        Index("uq_attempts_open", "job_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    job_id: Mapped[UUID]
    number: Mapped[int] = mapped_column(Integer)
    instance_id: Mapped[UUID]
    assignment_id: Mapped[UUID]
    status: Mapped[str]
    status_reason: Mapped[str]
    resumed_from_step: Mapped[int | None]
    result: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Checkpoint(Identified, TenantOwned, Timestamped, Base):
    """A complete checkpoint of a job: every file of it is stored."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        tenant_reference("job_id", "jobs"),
        tenant_reference("attempt_id", "attempts"),
        UniqueConstraint("attempt_id", "step"),
        Index("ix_checkpoints_newest", "organization_id", "job_id", "step"),
    )

    job_id: Mapped[UUID]
    attempt_id: Mapped[UUID]
    step: Mapped[int]
    files: Mapped[list[Any]]


class MetricChunk(Identified, TenantOwned, Base):
    """Points of one series as columns: a row per report, not per point."""

    __tablename__ = "metric_chunks"
    __table_args__ = (
        tenant_reference("job_id", "jobs"),
        tenant_reference("attempt_id", "attempts"),
        UniqueConstraint("attempt_id", "epoch", "seq", "name"),
        Index("ix_metric_chunks_series", "organization_id", "job_id", "name", "seq"),
    )

    job_id: Mapped[UUID]
    attempt_id: Mapped[UUID]
    epoch: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int]
    name: Mapped[str]
    steps: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    values: Mapped[list[float]] = mapped_column(ARRAY(Double))
    times: Mapped[list[float]] = mapped_column(ARRAY(Double))
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class LogChunk(Identified, TenantOwned, Base):
    """Numbered lines of a job's output, in object storage under `storage_key`."""

    __tablename__ = "log_chunks"
    __table_args__ = (
        tenant_reference("job_id", "jobs"),
        tenant_reference("attempt_id", "attempts"),
        UniqueConstraint("attempt_id", "epoch", "seq"),
        Index("ix_log_chunks_job", "organization_id", "job_id", "attempt_number", "seq"),
    )

    job_id: Mapped[UUID]
    attempt_id: Mapped[UUID]
    attempt_number: Mapped[int] = mapped_column(Integer)
    epoch: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int]
    line_count: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int]
    storage_key: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
