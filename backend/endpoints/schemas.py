"""What the API takes and gives about endpoints."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from backend.core.fields import Flag, ResourceName, Tags
from backend.endpoints.service import ConfigDetail, ConfigRequest, EndpointDetail
from backend.endpoints.traffic import Traffic
from backend.endpoints.variants import VariantRequest

MAX_WEIGHT = 10**9
WEIGHT_DECIMALS = 6
KIB, MIB = 1024, 1024 * 1024


def _weight(value: Decimal) -> Decimal:
    exponent = value.normalize().as_tuple().exponent if value.is_finite() else None
    if not isinstance(exponent, int) or not 0 <= value <= MAX_WEIGHT or exponent < -WEIGHT_DECIMALS:
        raise ValueError(f"a weight is a number from 0 to {MAX_WEIGHT} with at most {WEIGHT_DECIMALS} decimals")
    return value


Weight = Annotated[
    Decimal,
    AfterValidator(_weight),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MAX_WEIGHT},
                {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?$"},
            ],
            "description": "at most 6 decimals",
            "examples": [70],
        },
        mode="validation",
    ),
]
VariantName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$"),
    Field(description="a DNS label: lower-case letters, digits and hyphens"),
]


class VariantCreate(BaseModel):
    """A model version with a relative weight."""

    model_config = ConfigDict(extra="forbid")

    name: VariantName
    model_version_id: UUID
    weight: Weight


class ConfigWrite(BaseModel):
    """What shall stand behind an endpoint."""

    model_config = ConfigDict(extra="forbid")

    instance_type: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-zA-Z0-9.-]+$")]
    replica_count: Annotated[int, Field(ge=1, le=64)] = 1
    processes: Annotated[int, Field(ge=1, le=64, description="serving processes per replica, at most")] = 1
    variants: Annotated[list[VariantCreate], Field(min_length=1, max_length=16)]

    def request(self) -> ConfigRequest:
        """The same for the service."""
        return ConfigRequest(
            instance_type=self.instance_type,
            replica_count=self.replica_count,
            processes=self.processes,
            variants=[VariantRequest(one.name, one.model_version_id, one.weight) for one in self.variants],
        )


class EndpointCreate(ConfigWrite):
    """A new endpoint."""

    project_id: UUID
    name: ResourceName
    max_body_bytes: Annotated[int, Field(ge=KIB, le=64 * MIB)] = 16 * MIB
    protected: Annotated[Flag, Field(description="take approved model versions only")] = False
    tags: Tags = Field(default_factory=dict)


class EndpointUpdate(BaseModel):
    """Changes; what is left out stays. `tags` replaces all tags."""

    model_config = ConfigDict(extra="forbid")

    protected: Annotated[Flag, Field(description="take approved model versions only")] | None = None
    tags: Tags | None = None


class WeightsWrite(BaseModel):
    """Weights by variant name; variants not named keep theirs."""

    model_config = ConfigDict(extra="forbid")

    weights: Annotated[dict[str, Weight], Field(min_length=1, max_length=16)]


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class VariantView(_View):
    """A production variant."""

    name: str
    model_version_id: UUID
    weight: float


class ConfigView(BaseModel):
    """A config; `number` counts the endpoint's configs from 1."""

    id: UUID
    number: int
    instance_type: str
    replica_count: int
    processes: int
    variants: list[VariantView]
    created_at: datetime
    live_at: datetime | None
    """Since when it answers; null where it never did. It answers until the next config does."""

    @classmethod
    def of(cls, detail: ConfigDetail) -> "ConfigView":
        """The view of a config."""
        config = detail.config
        return cls(
            id=config.id,
            number=config.number,
            instance_type=config.instance_type,
            replica_count=config.replica_count,
            processes=config.processes,
            variants=[VariantView.model_validate(one) for one in detail.variants],
            created_at=config.created_at,
            live_at=config.live_at,
        )


class ReplicaView(_View):
    """A replica: probes are those of its start."""

    id: UUID
    config_id: UUID
    instance_id: UUID | None
    assignment_id: UUID | None
    status: str
    status_reason: str
    probes: list[Any]
    failure: dict[str, Any] | None
    created_at: datetime
    ready_at: datetime | None
    ended_at: datetime | None


class EndpointView(BaseModel):
    """An endpoint; `config` is the wanted one, `live_config` the one that answers."""

    id: UUID
    project_id: UUID
    name: str
    status: str
    status_reason: str
    max_body_bytes: int
    protected: bool
    tags: dict[str, str]
    created_by: str
    created_at: datetime
    in_service_at: datetime | None
    delete_requested_at: datetime | None
    deleted_at: datetime | None
    config: ConfigView
    live_config: ConfigView | None
    replicas: list[ReplicaView]
    infer_path: str
    """On the gateway."""

    @classmethod
    def of(cls, detail: EndpointDetail) -> "EndpointView":
        """The view of an endpoint."""
        row = detail.endpoint
        return cls(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            status=row.status,
            status_reason=row.status_reason,
            max_body_bytes=row.max_body_bytes,
            protected=row.protected,
            tags=row.tags,
            created_by=row.created_by,
            created_at=row.created_at,
            in_service_at=row.in_service_at,
            delete_requested_at=row.delete_requested_at,
            deleted_at=row.deleted_at,
            config=ConfigView.of(detail.wanted),
            live_config=ConfigView.of(detail.live) if detail.live is not None else None,
            replicas=[ReplicaView.model_validate(one) for one in detail.replicas],
            infer_path=f"/v2/models/{row.name}/infer",
        )


class EventView(_View):
    """One status change."""

    at: datetime
    from_status: str | None
    to_status: str
    reason: str
    actor: str


class EventList(BaseModel):
    """Status changes, oldest first."""

    items: list[EventView]


class VariantTrafficView(_View):
    """Sums of one variant; refused calls without a variant have the name ''. `compute_us` in microseconds.

    Latencies are the replica's own, from the whole request to its answer; null where no call was measured.
    """

    variant: str
    calls: int
    items: int
    errors: int
    bytes_in: int
    bytes_out: int
    compute_us: int
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


class MinuteTrafficView(VariantTrafficView):
    """Sums of one variant in the minute that begins at `minute`."""

    minute: datetime


class TrafficView(BaseModel):
    """Traffic in [from_at, to_at), as far as its segments have arrived (some seconds behind)."""

    from_at: datetime
    to_at: datetime
    variants: list[VariantTrafficView]
    minutes: list[MinuteTrafficView]

    @classmethod
    def of(cls, traffic: Traffic) -> "TrafficView":
        """The view of an endpoint's traffic."""
        return cls(
            from_at=traffic.from_at,
            to_at=traffic.to_at,
            variants=[
                VariantTrafficView.model_validate(row).model_copy(update=_latencies(traffic, row.variant))
                for row in traffic.variants
            ],
            minutes=[
                MinuteTrafficView.model_validate(row).model_copy(update=_latencies(traffic, row.minute, row.variant))
                for row in traffic.minutes
            ],
        )


def _latencies(traffic: Traffic, *key: Any) -> dict[str, float | None]:  # noqa: ANN401 - as Traffic.latency
    return {
        "latency_p50_ms": traffic.latency(*key, share=0.5),
        "latency_p95_ms": traffic.latency(*key, share=0.95),
    }
