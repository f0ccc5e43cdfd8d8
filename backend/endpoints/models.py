"""Tables of endpoints: endpoints, configs, production variants, replicas, usage segments, routing."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    func,
    text,
)
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


class Endpoint(Identified, TenantOwned, Tagged, Timestamped, Leased, Base):
    """A stable address that answers inference. Users write `wanted_config_id` and `delete_requested_at`.

    `route_version`: a version of the routing table that has the live config's route; None = not built yet.
    """

    __tablename__ = "endpoints"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        Index(
            "uq_endpoints_name",
            "organization_id",
            "name",
            unique=True,
            postgresql_where=text("status <> 'deleted'"),
        ),
        Index(
            "ix_endpoints_list",
            "organization_id",
            "created_at",
            "id",
            postgresql_where=text("status <> 'deleted'"),
        ),
        Index("ix_endpoints_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

    project_id: Mapped[UUID]
    name: Mapped[str]
    status: Mapped[str]
    status_reason: Mapped[str]
    wanted_config_id: Mapped[UUID]
    live_config_id: Mapped[UUID | None]
    route_version: Mapped[int | None]
    delete_requested_at: Mapped[datetime | None]
    max_body_bytes: Mapped[int]
    protected: Mapped[bool] = mapped_column(server_default=text("false"))
    """Only approved model versions may stand behind it."""
    created_by: Mapped[str]
    in_service_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class EndpointConfig(Identified, TenantOwned, Timestamped, Base):
    """What stands behind an endpoint: shape, replica count, production variants. Immutable.

    `live_at`: since when it is the one that answers; None = it never did. It answers until the next one does.
    """

    __tablename__ = "endpoint_configs"
    __table_args__ = (
        tenant_key(),
        tenant_reference("endpoint_id", "endpoints"),
        UniqueConstraint("endpoint_id", "number"),
        CheckConstraint("replica_count between 1 and 64", name="replica_count"),
    )

    endpoint_id: Mapped[UUID]
    number: Mapped[int] = mapped_column(Integer)
    instance_type: Mapped[str] = mapped_column(ForeignKey("instance_types.name"))
    replica_count: Mapped[int] = mapped_column(Integer)
    processes: Mapped[int] = mapped_column(Integer)
    created_by: Mapped[str]
    live_at: Mapped[datetime | None]


class ProductionVariant(Identified, TenantOwned, Base):
    """A model version with a relative weight, part of one endpoint config."""

    __tablename__ = "production_variants"
    __table_args__ = (
        tenant_reference("config_id", "endpoint_configs"),
        tenant_reference("model_version_id", "model_versions"),
        UniqueConstraint("config_id", "name"),
        Index("ix_production_variants_version", "organization_id", "model_version_id"),
        CheckConstraint("weight >= 0", name="weight_not_negative"),
    )

    config_id: Mapped[UUID]
    name: Mapped[str]
    model_version_id: Mapped[UUID]
    weight: Mapped[Decimal]
    position: Mapped[int] = mapped_column(Integer)


class Replica(Identified, TenantOwned, Timestamped, Base):
    """A serving process group of one endpoint on one instance; hosts every variant of the config."""

    __tablename__ = "replicas"
    __table_args__ = (
        tenant_key(),
        tenant_reference("endpoint_id", "endpoints"),
        tenant_reference("config_id", "endpoint_configs"),
        tenant_reference("instance_id", "instances"),
        Index("ix_replicas_open", "organization_id", "endpoint_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_replicas_config", "organization_id", "config_id", "ended_at"),
    )

    endpoint_id: Mapped[UUID]
    config_id: Mapped[UUID]
    instance_id: Mapped[UUID | None]
    assignment_id: Mapped[UUID | None]
    status: Mapped[str]
    status_reason: Mapped[str]
    socket_path: Mapped[str | None]
    probes: Mapped[list[Any]] = mapped_column(default=list)
    failure: Mapped[dict[str, Any] | None]
    assigned_at: Mapped[datetime | None]
    ready_at: Mapped[datetime | None]
    draining_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class UsageSegment(TenantOwned, Base):
    """A sealed usage segment that was accepted; a second delivery is dropped."""

    __tablename__ = "usage_segments"
    __table_args__ = (
        tenant_reference("replica_id", "replicas"),
        UniqueConstraint("organization_id", "segment_id"),
    )

    segment_id: Mapped[UUID] = mapped_column(primary_key=True)
    replica_id: Mapped[UUID]
    sha256: Mapped[str] = mapped_column(String(64))
    calls: Mapped[int]
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class VariantTraffic(Identified, TenantOwned, Base):
    """Calls of one variant and key inside one usage segment, summed."""

    __tablename__ = "variant_traffic"
    __table_args__ = (
        tenant_reference("endpoint_id", "endpoints"),
        ForeignKeyConstraint(
            ["organization_id", "segment_id"], ["usage_segments.organization_id", "usage_segments.segment_id"]
        ),
        UniqueConstraint("segment_id", "variant", "key_id"),
        Index("ix_variant_traffic_endpoint", "organization_id", "endpoint_id", "from_at"),
        Index("ix_variant_traffic_replica", "organization_id", "replica_id", "from_at"),
    )

    segment_id: Mapped[UUID]
    endpoint_id: Mapped[UUID]
    replica_id: Mapped[UUID]
    variant: Mapped[str]
    key_id: Mapped[UUID]
    calls: Mapped[int]
    items: Mapped[int]
    errors: Mapped[int]
    bytes_in: Mapped[int]
    bytes_out: Mapped[int]
    compute_us: Mapped[int]
    latency: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Calls by bucket of `wire.UsageLine.latency`; empty where the replica did not say."""
    from_at: Mapped[datetime]
    to_at: Mapped[datetime]


class RouteTable(Base):
    """One row: all tenants' routes, rebuilt by the controller, read only with a gateway's token."""

    __tablename__ = "route_table"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    version: Mapped[int]
    body: Mapped[dict[str, Any]]
    built_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Gateway(Identified, Timestamped, Base):
    """A gateway process group that may read the routing table; token as SHA-256.

    `known_version`: the version of the routing table that it said it has applied when it last asked, at `seen_at`.
    """

    __tablename__ = "gateways"

    name: Mapped[str] = mapped_column(unique=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    known_version: Mapped[int | None]
    seen_at: Mapped[datetime | None]
