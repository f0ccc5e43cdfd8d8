"""A replica in service that delivers its usage segments."""

import hashlib
import secrets
import time
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core import wire
from backend.fleet.models import Instance
from backend.identity.models import ApiKey
from tests.concurrency.place import Answer, Place


class Delivery:
    """One replica of one endpoint, and a key whose calls it counts."""

    def __init__(self, place: Place, endpoint_id: str) -> None:
        self._place, self._endpoint_id = place, endpoint_id
        self.replica = self._in_service()
        token = secrets.token_urlsafe()
        with place.controller_database.unit_of_work() as session:
            mine = Instance.id == self.replica.instance_id
            session.execute(update(Instance).where(mine).values(token_hash=hashlib.sha256(token.encode()).digest()))
            owner = ApiKey.organization_id == place.tenant.organization_id
            self._key_id = session.scalars(select(ApiKey.id).where(owner).limit(1)).one()
        self._agent = TestClient(place.app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)

    def _in_service(self) -> Any:
        world = self._place.world
        world.tick()
        world.boot()
        world.tick()
        (replica,) = world.replicas(self._endpoint_id, "starting")
        probes = [wire.VariantProbe(variant=name, ok=True, latency_ms=1.0, detail="") for name in ("v0", "v1")]
        world.say(replica, wire.Started(pid=7), wire.ReplicaReady(socket_path="/run/replica.sock", probes=probes))
        world.tick()
        return replica

    def content(self, segment_id: UUID, *, calls: int) -> bytes:
        """A segment of one line."""
        header = {
            "segment_id": str(segment_id),
            "replica_id": str(self.replica.id),
            "endpoint_id": self._endpoint_id,
            "opened_at": time.time(),
        }
        counts = {"calls": calls, "items": calls, "bytes_in": 1, "bytes_out": 1, "compute_us": calls, "errors": 0}
        line = {"at": time.time(), "variant": "v0", "key_id": str(self._key_id), **counts}
        return b"".join(msgspec.json.encode(each) + b"\n" for each in (header, line))

    def post(self, segment_id: UUID, content: bytes) -> Answer:
        """Deliver it."""
        address = f"/agent/v1/assignments/{self.replica.assignment_id}/usage-segments/{segment_id}"
        return self._agent.post(address, params={"epoch": 1}, content=content)

    def billed_calls(self) -> int:
        """Calls in the tenant's usage records."""
        with self._place.controller_database.unit_of_work() as session:
            mine = UsageRecord.organization_id == self._place.tenant.organization_id
            calls = select(func.sum(UsageRecord.quantity)).where(mine, UsageRecord.source_kind == "calls")
            return int(session.scalar(calls) or 0)
