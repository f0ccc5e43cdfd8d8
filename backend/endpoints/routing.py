"""The routing table: built from rows, whole, in every control pass; its version grows only when it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.auth import permissions_of
from backend.core.clock import database_now
from backend.core.db import ring_after_commit
from backend.endpoints import routing_repository as repository
from backend.endpoints.errors import GatewayTokenUnknown
from backend.endpoints.models import Endpoint, ProductionVariant, Replica
from backend.endpoints.service import CONTROL
from backend.endpoints.variants import serving_key

SEEN_WITHIN: Final = timedelta(seconds=5)
"""A gateway asks every second; one that was silent for longer is down and nobody waits for it."""


@dataclass(frozen=True)
class Known:
    """`version` of the routing table is what every living gateway has applied; the newest one was built at a time."""

    version: int
    newest: int
    built_at: datetime


def publish_routes(session: Session) -> bool:
    """Rebuild the routing table of all tenants. Needs the controller role. True = it changed."""
    table = repository.lock_table(session)
    endpoints = repository.live_endpoints(session)
    body = build_routes(session, endpoints)
    changed = body != table.body
    if changed:
        table.body = body
        table.version += 1
        table.built_at = database_now(session)
    ids = {route["endpoint_id"] for route in body["routes"]}
    routed = [
        (one.id, one.live_config_id)
        for one in endpoints
        if str(one.id) in ids and one.live_config_id is not None and one.route_version is None
    ]
    if routed:
        repository.note_routed(session, routed, table.version)
    return changed


def build_routes(session: Session, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """`routes` and `keys` of a wire.RouteSnapshot, in plain JSON types and a stable order.

    A route stands for an endpoint with at least one replica in service that fits its live config. Keys are all
    whose role and scopes allow `invoke`: an organization without an endpoint has valid keys too.
    """
    replicas = repository.answering_replicas(session)
    ids = {endpoint.live_config_id for endpoint in endpoints if endpoint.live_config_id is not None}
    ids |= {replica.config_id for replica in replicas}
    configs, variants = repository.configs(session, ids), repository.variants(session, ids)
    keys = {id_: serving_key(configs[id_], variants[id_]) for id_ in ids}
    routes = []
    for endpoint in endpoints:
        live = endpoint.live_config_id
        if live is None:
            continue
        own = [one for one in replicas if one.endpoint_id == endpoint.id and keys[one.config_id] == keys[live]]
        if own:
            routes.append(_route(endpoint, variants[live], own))
    found: dict[str, Any] = msgspec.to_builtins(
        {
            "routes": routes,
            "keys": [
                wire.RouteKey(
                    organization_id=str(row.organization_id),
                    key_id=str(row.id),
                    token_sha256=row.token_hash.hex(),
                    expires_at=row.expires_at.timestamp() if row.expires_at is not None else None,
                )
                for row in repository.valid_keys(session)
                if "invoke" in permissions_of(row.role, row.scopes)
            ],
        }
    )
    return found


def _route(endpoint: Endpoint, variants: list[ProductionVariant], replicas: list[Replica]) -> wire.Route:
    return wire.Route(
        organization_id=str(endpoint.organization_id),
        endpoint_id=str(endpoint.id),
        endpoint_name=endpoint.name,
        variants=[
            wire.RouteVariant(name=one.name, weight=float(one.weight), model_version_id=str(one.model_version_id))
            for one in variants
        ],
        replicas=[wire.RouteReplica(replica_id=str(one.id), socket_path=one.socket_path or "") for one in replicas],
        max_body_bytes=endpoint.max_body_bytes,
    )


def known_to_gateways(session: Session) -> Known | None:
    """What every gateway seen lately has applied; None = no gateway was seen, wait for none.

    Needs the controller role.
    """
    version = repository.least_known_version(session, SEEN_WITHIN)
    return None if version is None else Known(version, *repository.newest_table(session))


def read_routes(session: Session, token_hash: bytes, version: int) -> wire.RouteSnapshot | None:
    """The routing table for a gateway that has applied `version`; None when that is the current one.

    Its version is remembered, and the controller woken when it is a new one. Raises GatewayTokenUnknown.
    """
    is_news = repository.note_gateway(session, token_hash, version)
    if is_news is None:
        raise GatewayTokenUnknown("this token belongs to no gateway")
    if is_news:
        ring_after_commit(session, CONTROL)
    found = repository.routes_after(session, token_hash, version)
    if found is None:
        return None
    current, body = found
    return msgspec.convert({"version": current, **body}, wire.RouteSnapshot)
