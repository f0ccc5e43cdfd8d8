"""SQL of routing, across tenants. Unscoped on purpose: only the controller builds the routing table."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.endpoints import states
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant, Replica, RouteTable
from backend.identity.models import ApiKey


def lock_table(session: Session) -> RouteTable:
    """The one row, made where absent, locked: two builders follow each other."""
    session.execute(
        insert(RouteTable).values(id=1, version=0, body={"routes": [], "keys": []}).on_conflict_do_nothing()
    )
    return session.scalars(select(RouteTable).where(RouteTable.id == 1).with_for_update()).one()


def live_endpoints(session: Session) -> Sequence[Endpoint]:
    """Endpoints of all tenants with a live config that are not to be deleted, by id."""
    return session.scalars(
        select(Endpoint)
        .where(Endpoint.live_config_id.is_not(None), Endpoint.delete_requested_at.is_(None))
        .order_by(Endpoint.id)
    ).all()


def answering_replicas(session: Session) -> Sequence[Replica]:
    """Replicas of all tenants that are in service, oldest first."""
    return session.scalars(
        select(Replica)
        .where(Replica.ended_at.is_(None), Replica.status == states.IN_SERVICE, Replica.socket_path.is_not(None))
        .order_by(Replica.created_at, Replica.id)
    ).all()


def configs(session: Session, config_ids: set[UUID]) -> dict[UUID, EndpointConfig]:
    """Configs by id."""
    rows = session.scalars(select(EndpointConfig).where(EndpointConfig.id.in_(config_ids)))
    return {row.id: row for row in rows}


def variants(session: Session, config_ids: set[UUID]) -> dict[UUID, list[ProductionVariant]]:
    """Variants by config, in their order."""
    rows = session.scalars(
        select(ProductionVariant)
        .where(ProductionVariant.config_id.in_(config_ids))
        .order_by(ProductionVariant.position)
    )
    found: dict[UUID, list[ProductionVariant]] = {config_id: [] for config_id in config_ids}
    for row in rows:
        found[row.config_id].append(row)
    return found


def valid_keys(
    session: Session, organization_ids: set[UUID]
) -> Sequence[Row[UUID, UUID, bytes, datetime | None, str, list[str]]]:
    """(organization, id, token hash, expiry, role, scopes) of API keys neither revoked nor expired, by id."""
    return session.execute(
        select(ApiKey.organization_id, ApiKey.id, ApiKey.token_hash, ApiKey.expires_at, ApiKey.role, ApiKey.scopes)
        .where(
            ApiKey.organization_id.in_(organization_ids),
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp()),
        )
        .order_by(ApiKey.id)
    ).all()


def is_gateway(session: Session, token_hash: bytes) -> bool:
    """Whether a gateway has this token (by its SECURITY DEFINER function)."""
    found = session.execute(text("SELECT gateway_id FROM auth_gateway(:presented)"), {"presented": token_hash})
    return found.one_or_none() is not None


def routes_after(session: Session, token_hash: bytes, version: int) -> tuple[int, dict[str, Any]] | None:
    """(version, body) of the routing table, None when `version` is the current one."""
    row = session.execute(
        text("SELECT version, body FROM gateway_routes(:presented, :version)"),
        {"presented": token_hash, "version": version},
    ).one_or_none()
    return None if row is None else (row.version, row.body)
