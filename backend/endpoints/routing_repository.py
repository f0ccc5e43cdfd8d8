"""SQL of routing, across tenants. Unscoped on purpose: only the controller builds the routing table."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.endpoints import states
from backend.endpoints.models import Endpoint, EndpointConfig, Gateway, ProductionVariant, Replica, RouteTable
from backend.identity.models import ApiKey

LAST_MOMENT = datetime(9998, 12, 31, tzinfo=UTC)


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
    session: Session,
) -> Sequence[Row[UUID, UUID, bytes, datetime | None, str, list[str]]]:
    """(organization, id, token hash, expiry, role, scopes) of API keys neither revoked nor expired, by id.

    An expiry that Python cannot read is told as the last one that it can: it must not hold up everybody's table.
    """
    expires_at = func.least(ApiKey.expires_at, LAST_MOMENT, type_=ApiKey.expires_at.type).label("expires_at")
    return session.execute(
        select(ApiKey.organization_id, ApiKey.id, ApiKey.token_hash, expires_at, ApiKey.role, ApiKey.scopes)
        .where(
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp()),
        )
        .order_by(ApiKey.id)
    ).all()


def note_routed(session: Session, routed: Sequence[tuple[UUID, UUID]], version: int) -> None:
    """Write the version on endpoints (id, live config) that have none, if that config is still the live one.

    One that somebody else holds is left for the next pass: the table must not wait for a tenant's row.
    """
    mine = (
        select(Endpoint.id)
        .where(tuple_(Endpoint.id, Endpoint.live_config_id).in_(routed), Endpoint.route_version.is_(None))
        .with_for_update(skip_locked=True, key_share=True)
    )
    session.execute(
        update(Endpoint)
        .where(Endpoint.id.in_(session.scalars(mine).all()))
        .values(route_version=version)
        .execution_options(synchronize_session=False)
    )


def least_known_version(session: Session, seen_within: timedelta) -> int | None:
    """The oldest version that a gateway seen lately has applied; None when none was seen."""
    return session.scalar(
        select(func.min(func.coalesce(Gateway.known_version, -1))).where(
            Gateway.seen_at > func.clock_timestamp() - seen_within
        )
    )


def newest_table(session: Session) -> tuple[int, datetime]:
    """(version, when it was built) of the routing table; long ago where none was built yet."""
    found = session.execute(select(RouteTable.version, RouteTable.built_at)).one_or_none()
    return (found.version, found.built_at) if found is not None else (-1, datetime.min.replace(tzinfo=UTC))


def note_gateway(session: Session, token_hash: bytes, version: int) -> bool | None:
    """Record what the gateway with this token has applied (by its SECURITY DEFINER function).

    True = it had another version when it last asked; None = no gateway has this token.
    """
    is_news: bool | None = session.scalar(
        text("SELECT is_news FROM gateway_seen(:presented, :version)"), {"presented": token_hash, "version": version}
    )
    return is_news


def routes_after(session: Session, token_hash: bytes, version: int) -> tuple[int, dict[str, Any]] | None:
    """(version, body) of the routing table, None when `version` is the current one."""
    row = session.execute(
        text("SELECT version, body FROM gateway_routes(:presented, :version)"),
        {"presented": token_hash, "version": version},
    ).one_or_none()
    return None if row is None else (row.version, row.body)
