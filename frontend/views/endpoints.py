"""What the endpoints' pages show, and how it is read from the services."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing import costs
from backend.billing.costs import month_start
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.lifecycle import Event
from backend.core.pagination import MAX_LIMIT, PageRequest
from backend.endpoints import service, states, traffic
from backend.endpoints.models import Replica
from backend.endpoints.repository import EndpointFilter
from backend.endpoints.service import ConfigDetail, EndpointDetail
from backend.projects import service as projects
from backend.registry import service as registry
from backend.registry.models import Model, ModelVersion
from frontend.jobviews import ACTORS
from frontend.views import EventView, ProjectLink

SETTLED = frozenset({states.IN_SERVICE, states.FAILED, states.DELETED})
"""Statuses that last until somebody acts."""
Versions = Mapping[UUID, tuple[Model, ModelVersion]]


@dataclass(frozen=True, kw_only=True)
class VariantLine:
    """One production variant. `share` of the traffic that its weight asks for, in [0, 1]."""

    name: str
    model_name: str
    version_number: int | None
    version_id: str
    weight: Decimal
    share: float
    approval: str

    @property
    def version(self) -> str:
        """`digits:3`, as the command line writes it; the id where the version is gone."""
        return self.version_id if self.version_number is None else f"{self.model_name}:{self.version_number}"

    @property
    def weight_text(self) -> str:
        """The weight without needless zeros."""
        return f"{self.weight.normalize():f}"


@dataclass(frozen=True, kw_only=True)
class ConfigLine:
    """One config. `live_at` None = it never answered."""

    number: int
    instance_type: str
    replica_count: int
    processes: int
    variants: Sequence[VariantLine]
    created_at: datetime
    live_at: datetime | None
    who: str


@dataclass(frozen=True, kw_only=True)
class ReplicaLine:
    """One replica: `config` is the number of the config it was made for where that is known."""

    id: str
    status: str
    reason: str
    instance: str
    created_at: datetime
    ready_at: datetime | None
    ended_at: datetime | None
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class EndpointLine:
    """One endpoint, as the list shows it. Traffic is that of the last hour; latency in seconds."""

    id: str
    name: str
    status: str
    reason: str
    project_id: str
    project_name: str
    config: ConfigLine
    live: ConfigLine | None
    ready: int
    calls: int
    errors: int
    p95: float | None
    cost: Decimal | None
    created_at: datetime

    @property
    def final(self) -> bool:
        """Nothing will change any more."""
        return self.status == states.DELETED

    @property
    def settled(self) -> bool:
        """Nothing changes until somebody acts."""
        return self.status in SETTLED and (self.final or self.ready == self.config.replica_count)


@dataclass(frozen=True, kw_only=True)
class EndpointList:
    """One page of endpoints."""

    endpoints: Sequence[EndpointLine]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class EndpointPage:
    """One endpoint, as its pages show it. `signature` is that of its first variant."""

    line: EndpointLine
    replicas: Sequence[ReplicaLine]
    in_service_at: datetime | None
    deleting: bool
    protected: bool
    infer_path: str
    max_body_bytes: int
    created_by: str
    tags: Mapping[str, str]
    signature: Mapping[str, Any]

    @property
    def changing(self) -> bool:
        """Another config is wanted than the one that answers."""
        line = self.line
        return line.live is not None and line.live.number != line.config.number


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A model version that a variant may serve."""

    id: str
    label: str
    project_id: str


def list_endpoints(session: Session, scope: Scope, where: EndpointFilter, page: PageRequest) -> EndpointList:
    """One page, newest first. Raises CursorNotValid."""
    details, cursor = service.list_endpoints(session, scope, where, page)
    return EndpointList(endpoints=lines(session, scope, details), next_cursor=cursor)


def read_endpoint(session: Session, scope: Scope, endpoint_id: UUID) -> EndpointPage:
    """One endpoint. Raises EndpointNotFound."""
    detail = service.get_endpoint(session, scope, endpoint_id)
    endpoint = detail.endpoint
    answering = detail.live or detail.wanted
    found = registry.named_versions(session, scope, [one.model_version_id for one in answering.variants])
    signature = next((version.signature for _, version in found.values()), {})
    return EndpointPage(
        line=lines(session, scope, [detail])[0],
        replicas=[_replica(one) for one in detail.replicas],
        in_service_at=endpoint.in_service_at,
        deleting=endpoint.delete_requested_at is not None,
        protected=endpoint.protected,
        infer_path=f"/v2/models/{endpoint.name}/infer",
        max_body_bytes=endpoint.max_body_bytes,
        created_by=endpoint.created_by,
        tags=endpoint.tags,
        signature=signature,
    )


def lines(session: Session, scope: Scope, details: Sequence[EndpointDetail]) -> list[EndpointLine]:
    """Endpoints with the traffic of the last hour and what was charged this month."""
    ids = [detail.endpoint.id for detail in details]
    configs = [config for detail in details for config in (detail.wanted, detail.live) if config is not None]
    versions = versions_of(session, scope, configs)
    recent = traffic.summarize(session, scope, ids)
    charged = costs.charged_to(session, scope, "endpoint", ids, since=month_start(database_now(session)))
    names = {UUID(one.id): one.name for one in project_links(session, scope)}
    return [
        _line(detail, versions, recent.get(detail.endpoint.id, traffic.Summary()), charged, names) for detail in details
    ]


def _line(
    detail: EndpointDetail,
    versions: Versions,
    recent: traffic.Summary,
    charged: Mapping[UUID, Decimal],
    names: Mapping[UUID, str],
) -> EndpointLine:
    endpoint = detail.endpoint
    deleting = endpoint.delete_requested_at is not None and endpoint.status != states.DELETED
    return EndpointLine(
        id=str(endpoint.id),
        name=endpoint.name,
        status=states.DELETING if deleting else endpoint.status,
        reason=endpoint.status_reason,
        project_id=str(endpoint.project_id),
        project_name=names.get(endpoint.project_id, str(endpoint.project_id)),
        config=config_line(detail.wanted, versions),
        live=None if detail.live is None else config_line(detail.live, versions),
        ready=sum(one.status == states.IN_SERVICE for one in detail.replicas),
        calls=recent.calls,
        errors=recent.errors,
        p95=None if recent.p95_ms is None else recent.p95_ms / 1000,
        cost=charged.get(endpoint.id, Decimal(0)),
        created_at=endpoint.created_at,
    )


def versions_of(session: Session, scope: Scope, configs: Collection[ConfigDetail]) -> Versions:
    """The model versions behind some configs."""
    ids = {variant.model_version_id for config in configs for variant in config.variants}
    return registry.named_versions(session, scope, ids)


def actor_name(actor: str, viewer: Principal) -> str:
    """Who did it: the viewer by name, others by what they are."""
    kind = actor.partition(":")[0]
    return viewer.name if actor == viewer.actor else ACTORS.get(kind, kind.replace("_", " "))


def event_view(event: Event, viewer: Principal) -> EventView:
    """One change of status."""
    return EventView(
        at=event.at,
        subject=event.resource_kind,
        to_status=event.to_status,
        reason=event.reason,
        who=actor_name(event.actor, viewer),
    )


def config_line(detail: ConfigDetail, versions: Versions, viewer: Principal | None = None) -> ConfigLine:
    """A config as the pages show it; with a viewer, who asked for it by name."""
    whole = sum(one.weight for one in detail.variants)
    return ConfigLine(
        number=detail.config.number,
        instance_type=detail.config.instance_type,
        replica_count=detail.config.replica_count,
        processes=detail.config.processes,
        variants=[
            VariantLine(
                name=one.name,
                model_name=versions[one.model_version_id][0].name if one.model_version_id in versions else "",
                version_number=versions[one.model_version_id][1].number if one.model_version_id in versions else None,
                version_id=str(one.model_version_id),
                weight=one.weight,
                share=float(one.weight / whole) if whole else 0.0,
                approval=versions[one.model_version_id][1].approval_status if one.model_version_id in versions else "",
            )
            for one in detail.variants
        ],
        created_at=detail.config.created_at,
        live_at=detail.config.live_at,
        who=actor_name(detail.config.created_by, viewer) if viewer else detail.config.created_by,
    )


def _replica(row: Replica) -> ReplicaLine:
    return ReplicaLine(
        id=str(row.id),
        status=row.status,
        reason=row.status_reason,
        instance=str(row.instance_id or ""),
        created_at=row.created_at,
        ready_at=row.ready_at,
        ended_at=row.ended_at,
        failure=None if row.failure is None else str(row.failure.get("reason", "")),
    )


def list_replicas(
    session: Session, scope: Scope, endpoint_id: UUID, page: PageRequest
) -> tuple[list[ReplicaLine], str | None]:
    """Every replica it has or had, newest first. Raises EndpointNotFound."""
    rows, cursor = service.list_replicas(session, scope, endpoint_id, page)
    return [_replica(one) for one in rows], cursor


def project_links(session: Session, scope: Scope) -> list[ProjectLink]:
    """The projects an endpoint may be in."""
    found, _ = projects.list_projects(session, scope, PageRequest(limit=MAX_LIMIT))
    return [ProjectLink(id=str(one.id), name=one.name) for one in found]


def choices(session: Session, scope: Scope) -> list[Choice]:
    """Model versions that an endpoint takes, newest first."""
    return [
        Choice(
            id=str(version.id),
            label=f"{model.name}:{version.number} · {version.approval_status}",
            project_id=str(model.project_id),
        )
        for model, version in registry.list_servable(session, scope)
    ]
