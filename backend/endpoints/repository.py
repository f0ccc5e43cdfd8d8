"""All SQL of endpoints, within one organization. `routing_repository` holds what spans tenants, `traffic_repository`
what they were asked.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, false, func, or_, select
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.lifecycle import Event
from backend.core.names import find_named
from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.endpoints import states
from backend.endpoints.models import (
    Endpoint,
    EndpointConfig,
    ProductionVariant,
    Replica,
)
from backend.registry.models import ModelVersion

ENDPOINT_SORTS: Sorts = {"name": [Endpoint.name, Endpoint.id], "created_at": [Endpoint.created_at, Endpoint.id]}


@dataclass(frozen=True)
class EndpointFilter:
    """What a list of endpoints is narrowed to; deleted ones only when asked for by status."""

    project_id: UUID | None = None
    status: str | None = None
    name: str | None = None
    name_contains: str | None = None


@dataclass(frozen=True)
class Deployment:
    """A model version behind an endpoint. `live`: it is part of what answers now; else only of what is wanted."""

    endpoint_id: UUID
    endpoint_name: str
    endpoint_status: str
    model_id: UUID
    model_version_id: UUID
    number: int
    variant: str
    weight: Decimal
    live: bool


class EndpointRepository:
    """Endpoints, configs, variants and replicas of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    def add(self, *rows: Endpoint | EndpointConfig | ProductionVariant | Replica) -> None:
        """Insert rows now, so that a broken constraint shows here."""
        for row in rows:
            row.organization_id = self._organization_id
        self._session.add_all(rows)
        self._session.flush()

    def endpoint(self, endpoint_id: UUID, *, lock: bool = False) -> Endpoint | None:
        """One endpoint, deleted or not."""
        query = select(Endpoint).where(Endpoint.organization_id == self._organization_id, Endpoint.id == endpoint_id)
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()

    def named(self, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
        """(id, name, status) of endpoints that are not deleted, by name, see `core.names`."""
        mine = select(Endpoint.id, Endpoint.name, Endpoint.status).where(
            Endpoint.organization_id == self._organization_id, Endpoint.status != states.DELETED
        )
        return find_named(
            self._session,
            mine,
            name=Endpoint.name,
            newest=[Endpoint.created_at.desc(), Endpoint.id.desc()],
            words=words,
            limit=limit,
        )

    def endpoints(self, endpoint_ids: Collection[UUID]) -> dict[UUID, Endpoint]:
        """Endpoints by id, deleted ones too; ids of none are left out."""
        query = select(Endpoint).where(Endpoint.organization_id == self._organization_id, Endpoint.id.in_(endpoint_ids))
        return {endpoint.id: endpoint for endpoint in self._session.scalars(query)}

    def page(self, where: EndpointFilter, page: PageRequest) -> tuple[list[Endpoint], str | None]:
        """Newest first, and the cursor of the next page."""
        query = select(Endpoint).where(Endpoint.organization_id == self._organization_id)
        if where.project_id is not None:
            query = query.where(Endpoint.project_id == where.project_id)
        if where.name is not None:
            query = query.where(Endpoint.name == where.name)
        if where.name_contains is not None:
            query = query.where(Endpoint.name.icontains(where.name_contains, autoescape=True))
        alive = Endpoint.status != states.DELETED
        query = query.where(alive if where.status is None else Endpoint.status == where.status)
        keys = (Endpoint.created_at, Endpoint.id)
        return fetch_page(self._session, query, page, keys=keys, sorts=ENDPOINT_SORTS)

    def config(self, config_id: UUID) -> EndpointConfig:
        """One config."""
        return self._session.scalars(
            select(EndpointConfig).where(
                EndpointConfig.organization_id == self._organization_id, EndpointConfig.id == config_id
            )
        ).one()

    def configs(self, config_ids: Sequence[UUID]) -> dict[UUID, EndpointConfig]:
        """Configs by id."""
        rows = self._session.scalars(
            select(EndpointConfig).where(
                EndpointConfig.organization_id == self._organization_id, EndpointConfig.id.in_(config_ids)
            )
        )
        return {row.id: row for row in rows}

    def config_page(self, endpoint_id: UUID, page: PageRequest) -> tuple[list[EndpointConfig], str | None]:
        """Every config an endpoint ever had, newest first, and the cursor of the next page."""
        query = select(EndpointConfig).where(
            EndpointConfig.organization_id == self._organization_id, EndpointConfig.endpoint_id == endpoint_id
        )
        return fetch_page(self._session, query, page, keys=(EndpointConfig.created_at, EndpointConfig.id))

    def config_at(self, endpoint_id: UUID, moment: datetime) -> EndpointConfig | None:
        """The config that answered at a moment; None before the first one did."""
        return self._session.scalars(
            select(EndpointConfig)
            .where(
                EndpointConfig.organization_id == self._organization_id,
                EndpointConfig.endpoint_id == endpoint_id,
                EndpointConfig.live_at <= moment,
            )
            .order_by(EndpointConfig.live_at.desc(), EndpointConfig.number.desc())
            .limit(1)
        ).one_or_none()

    def last_number(self, endpoint_id: UUID) -> int:
        """The number of the endpoint's newest config."""
        return (
            self._session.scalar(
                select(func.max(EndpointConfig.number)).where(
                    EndpointConfig.organization_id == self._organization_id,
                    EndpointConfig.endpoint_id == endpoint_id,
                )
            )
            or 0
        )

    def variants(self, config_ids: Sequence[UUID]) -> dict[UUID, list[ProductionVariant]]:
        """Variants by config, in their order."""
        rows = self._session.scalars(
            select(ProductionVariant)
            .where(
                ProductionVariant.organization_id == self._organization_id,
                ProductionVariant.config_id.in_(config_ids),
            )
            .order_by(ProductionVariant.position)
        )
        found: dict[UUID, list[ProductionVariant]] = {config_id: [] for config_id in config_ids}
        for row in rows:
            found[row.config_id].append(row)
        return found

    def deployments(self, model_ids: Sequence[UUID]) -> list[Deployment]:
        """Variants of versions of these models in the wanted or the live config of an endpoint that is not deleted."""
        live = Endpoint.live_config_id == ProductionVariant.config_id
        current = or_(live, Endpoint.wanted_config_id == ProductionVariant.config_id)
        rows = self._session.execute(
            select(
                Endpoint, ProductionVariant, ModelVersion.model_id, ModelVersion.number, func.coalesce(live, false())
            )
            .select_from(ModelVersion)
            .join(ProductionVariant, ProductionVariant.model_version_id == ModelVersion.id)
            .join(EndpointConfig, EndpointConfig.id == ProductionVariant.config_id)
            .join(Endpoint, and_(Endpoint.id == EndpointConfig.endpoint_id, current))
            .where(
                *(one.organization_id == self._organization_id for one in (ModelVersion, ProductionVariant, Endpoint)),
                ModelVersion.model_id.in_(model_ids),
                Endpoint.status != states.DELETED,
            )
            .order_by(Endpoint.name, ProductionVariant.position, EndpointConfig.number.desc())
        )
        return [
            Deployment(
                endpoint.id, endpoint.name, endpoint.status, model_id, variant.model_version_id, number,
                variant.name, variant.weight, is_live,
            )
            for endpoint, variant, model_id, number, is_live in rows
        ]  # fmt: skip

    def replica(self, replica_id: UUID) -> Replica | None:
        """One replica."""
        return self._session.scalars(
            select(Replica).where(Replica.organization_id == self._organization_id, Replica.id == replica_id)
        ).one_or_none()

    def replicas(self, endpoint_ids: Sequence[UUID]) -> Sequence[Replica]:
        """Open replicas of some endpoints, oldest first."""
        return self._session.scalars(
            select(Replica)
            .where(
                Replica.organization_id == self._organization_id,
                Replica.endpoint_id.in_(endpoint_ids),
                Replica.ended_at.is_(None),
            )
            .order_by(Replica.created_at, Replica.id)
        ).all()

    def replica_page(self, endpoint_id: UUID, page: PageRequest) -> tuple[list[Replica], str | None]:
        """Every replica an endpoint ever had, newest first, and the cursor of the next page."""
        query = select(Replica).where(
            Replica.organization_id == self._organization_id, Replica.endpoint_id == endpoint_id
        )
        return fetch_page(self._session, query, page, keys=(Replica.created_at, Replica.id))

    def last_ended(self, config_ids: Sequence[UUID], limit: int) -> Sequence[Replica]:
        """The replicas of these configs that ended last, newest end first."""
        return self._session.scalars(
            select(Replica)
            .where(
                Replica.organization_id == self._organization_id,
                Replica.config_id.in_(config_ids),
                Replica.ended_at.is_not(None),
            )
            .order_by(Replica.ended_at.desc())
            .limit(limit)
        ).all()

    def events(self, endpoint_id: UUID, *, limit: int) -> Sequence[Event]:
        """The last status changes of an endpoint, oldest first."""
        rows = self._session.scalars(
            select(Event)
            .where(
                Event.organization_id == self._organization_id,
                Event.resource_kind == "endpoint",
                Event.resource_id == endpoint_id,
            )
            .order_by(Event.at.desc(), Event.id.desc())
            .limit(limit)
        ).all()
        return rows[::-1]
