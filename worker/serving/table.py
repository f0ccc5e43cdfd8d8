"""The routing table in the gateway, and its copy on disk."""

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from backend.core.wire import ReplicaRoute, Route, RouteKey, RouteSnapshot
from worker.serving.log import log


class Bounds(NamedTuple):
    """How much each process of a replica takes on (`ReplicaRoute`)."""

    queue_seconds: float = 5.0
    key_calls: int = 512


def add_bounds(parser: argparse.ArgumentParser) -> None:
    """The options that make `Bounds`, of a gateway's command line."""
    usual = Bounds()
    parser.add_argument(
        "--queue-seconds", type=float, default=usual.queue_seconds, help="how long calls may have to wait in a replica"
    )
    parser.add_argument(
        "--key-calls", type=int, default=usual.key_calls, help="calls of one key under way in a process; 0 = any number"
    )


class RoutingTable:
    """A snapshot, indexed, and the bounds that replicas are told with it.

    Without a snapshot (`version` -1) nothing is known.
    """

    def __init__(self, snapshot: RouteSnapshot | None, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self.version = -1 if snapshot is None else snapshot.version
        self.routes: dict[tuple[str, str], Route] = {}
        self._keys: dict[str, RouteKey] = {}
        self._keys_of: dict[str, list[RouteKey]] = {}
        if snapshot is not None:
            self.routes = {(route.organization_id, route.endpoint_name): route for route in snapshot.routes}
            for key in snapshot.keys:
                self._keys[key.token_sha256] = key
                self._keys_of.setdefault(key.organization_id, []).append(key)

    def key(self, token_sha256: str) -> RouteKey | None:
        """The key with this hash, if it is known and has not expired."""
        key = self._keys.get(token_sha256)
        if key is None or (key.expires_at is not None and key.expires_at <= time.time()):
            return None
        return key

    def replica_route(self, route: Route) -> ReplicaRoute:
        """What the replicas of `route` are told."""
        return ReplicaRoute(
            organization_id=route.organization_id,
            endpoint_id=route.endpoint_id,
            endpoint_name=route.endpoint_name,
            variants=route.variants,
            keys=self._keys_of.get(route.organization_id, []),
            max_body_bytes=route.max_body_bytes,
            version=self.version,
            queue_seconds=self._bounds.queue_seconds,
            key_calls=self._bounds.key_calls,
        )


def load(path: Path, bounds: Bounds | None = None) -> RoutingTable:
    """The last table on disk; an empty one when there is none or it cannot be read."""
    try:
        return RoutingTable(msgspec.json.decode(path.read_bytes(), type=RouteSnapshot), bounds)
    except FileNotFoundError:
        log("no routing table on disk yet")
    except (OSError, msgspec.DecodeError) as error:
        log("routing table on disk is unusable", error=str(error))
    return RoutingTable(None, bounds)


def save(path: Path, content: bytes) -> None:
    """Replace the table on disk, atomically and durably (mode 0600); raises OSError."""
    born = path.with_name(f".{path.name}.new")
    descriptor = os.open(born, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    born.replace(path)
