"""Tables of the fleet: instance types, instances, assignments, reports, heartbeats, holds, quotas."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
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


class InstanceType(Base):
    """A priced shape. Its SKU is `instance:<name>:<market>`, per second."""

    __tablename__ = "instance_types"

    name: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str]
    vcpus: Mapped[float]
    memory_bytes: Mapped[int]
    gpus: Mapped[int] = mapped_column(Integer, server_default="0")
    description: Mapped[str]


class Instance(Identified, TenantOwned, Tagged, Leased, Base):
    """One machine of a shape, of one organization for its whole life.

    `tag` is written before the provider is asked (★5): recovery describes by it before it creates.
    """

    __tablename__ = "instances"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        CheckConstraint("market in ('on-demand','spot')", name="market"),
        Index("ix_instances_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index(
            "ix_instances_open",
            "organization_id",
            "instance_type",
            postgresql_where=text("status <> 'terminated'"),
        ),
        Index(
            "ix_instances_requested_for",
            "organization_id",
            "requested_for",
            "id",
            postgresql_where=text("requested_for IS NOT NULL"),
        ),
        Index("ix_instances_list", "organization_id", "requested_at", "id"),
    )

    project_id: Mapped[UUID]
    instance_type: Mapped[str] = mapped_column(ForeignKey("instance_types.name"))
    market: Mapped[str]
    provider: Mapped[str]
    tag: Mapped[str] = mapped_column(unique=True)
    token_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    status: Mapped[str]
    status_reason: Mapped[str]
    requested_for: Mapped[UUID | None]
    """The job or replica it was asked for; others may take it once that one is gone."""
    create_attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    requested_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    launched_at: Mapped[datetime | None]
    ready_at: Mapped[datetime | None]
    drain_requested_at: Mapped[datetime | None]
    interruption_notice: Mapped[str | None]
    terminating_at: Mapped[datetime | None]
    terminated_at: Mapped[datetime | None]
    agent: Mapped[dict[str, Any]] = mapped_column(default=dict)


class InstanceHeartbeat(Base):
    """When an instance's agent last spoke. Narrow: the one hot row per instance."""

    __tablename__ = "instance_heartbeats"

    instance_id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Assignment(Identified, TenantOwned, Timestamped, Base):
    """What an instance should be doing: an attempt or a replica, with an epoch (★4).

    `subject_id` is the attempt's or replica's id. One open assignment per instance.
    """

    __tablename__ = "assignments"
    __table_args__ = (
        tenant_key(),
        tenant_reference("instance_id", "instances"),
        CheckConstraint("subject_kind in ('attempt','replica')", name="subject_kind"),
        CheckConstraint("desired in ('run','stop')", name="desired"),
        Index(
            "uq_assignments_open_instance",
            "instance_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_assignments_subject", "organization_id", "subject_id"),
        Index("ix_assignments_instance", "organization_id", "instance_id", "ended_at"),
    )

    instance_id: Mapped[UUID]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    project_id: Mapped[UUID]
    resource_kind: Mapped[str]
    """Who is billed: `job` or `endpoint`, with its id and its name."""
    resource_id: Mapped[UUID]
    resource_name: Mapped[str]
    epoch: Mapped[int] = mapped_column(Integer, server_default="1")
    desired: Mapped[str]
    stop_reason: Mapped[str | None]
    spec: Mapped[dict[str, Any]]
    started_at: Mapped[datetime | None]
    """When the start report was accepted, by Postgres's clock: billing starts here (★8)."""
    ended_at: Mapped[datetime | None]
    billed_until: Mapped[datetime | None]


class AssignmentHeartbeat(Base):
    """The agent's monotonic seconds since the start, as last heard. Narrow and hot."""

    __tablename__ = "assignment_heartbeats"

    assignment_id: Mapped[UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    epoch: Mapped[int] = mapped_column(Integer)
    elapsed_seconds: Mapped[float]
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Report(Identified, TenantOwned, Base):
    """One thing an agent said that the controllers must act on; unique per assignment, epoch and seq (★4)."""

    __tablename__ = "reports"
    __table_args__ = (
        tenant_reference("assignment_id", "assignments"),
        UniqueConstraint("assignment_id", "epoch", "seq"),
        Index("ix_reports_unapplied", "assignment_id", "seq", postgresql_where=text("applied_at IS NULL")),
    )

    assignment_id: Mapped[UUID]
    epoch: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int]
    kind: Mapped[str]
    elapsed_seconds: Mapped[float]
    body: Mapped[dict[str, Any]]
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    applied_at: Mapped[datetime | None]


class ReportCursor(Base):
    """Last accepted seq per assignment and epoch: a replay is told so and changes nothing."""

    __tablename__ = "report_cursors"

    assignment_id: Mapped[UUID] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    last_seq: Mapped[int]


class UtilisationChunk(Identified, TenantOwned, Base):
    """What an assignment used of its instance, as columns: a row per report, see `backend.fleet.utilisation`."""

    __tablename__ = "utilisation_chunks"
    __table_args__ = (
        tenant_reference("assignment_id", "assignments"),
        UniqueConstraint("assignment_id", "epoch", "seq"),
    )

    assignment_id: Mapped[UUID]
    epoch: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int]
    cpu_count: Mapped[float]
    memory_limit_bytes: Mapped[int]
    gpu_count: Mapped[int] = mapped_column(Integer)
    gpu_memory_limit_bytes: Mapped[int]
    times: Mapped[list[float]] = mapped_column(ARRAY(Double))
    spans: Mapped[list[float]] = mapped_column(ARRAY(Double))
    cpu_cores: Mapped[list[float]] = mapped_column(ARRAY(Double))
    memory_bytes: Mapped[list[float]] = mapped_column(ARRAY(Double))
    read_bytes_per_second: Mapped[list[float]] = mapped_column(ARRAY(Double))
    written_bytes_per_second: Mapped[list[float]] = mapped_column(ARRAY(Double))
    gpu_share: Mapped[list[float]] = mapped_column(ARRAY(Double))
    gpu_memory_bytes: Mapped[list[float]] = mapped_column(ARRAY(Double))
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Hold(Identified, TenantOwned, Base):
    """An instance kept without an assignment, and billed: warm pool now; debugging and notebooks later."""

    __tablename__ = "holds"
    __table_args__ = (
        tenant_key(),
        tenant_reference("instance_id", "instances"),
        tenant_reference("project_id", "projects"),
        Index("uq_holds_open", "instance_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    instance_id: Mapped[UUID]
    project_id: Mapped[UUID]
    reason: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    until_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    billed_until: Mapped[datetime | None]


class Quota(Identified, TenantOwned, Timestamped, Base):
    """How many instances of a type an organization may have at once; type `*` is the sum over all."""

    __tablename__ = "quotas"
    __table_args__ = (UniqueConstraint("organization_id", "instance_type"),)

    instance_type: Mapped[str]
    max_instances: Mapped[int] = mapped_column(Integer)


class ApiUptime(Base):
    """One row: since when the API has been up without a gap. Heartbeat age counts only this time (★7)."""

    __tablename__ = "api_uptime"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    up_since: Mapped[datetime]
    beat_at: Mapped[datetime]
