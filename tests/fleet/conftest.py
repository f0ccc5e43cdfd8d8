"""A fleet on the real local provider: machines are processes, their agents are played over HTTP."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select, update
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core import queue, wire
from backend.core.db import Database, act_as
from backend.core.ids import new_id
from backend.core.settings import ControlSettings, Settings
from backend.fleet import service
from backend.fleet.models import ApiUptime, Assignment, Instance, InstanceHeartbeat, InstanceType
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.localhost.test_local_provider import Host
from tests.platform.waiting import until
from worker.context import ControlContext
from worker.tasks import fleet

SHAPE = "fleet.cpu"


@pytest.fixture(scope="package")
def host() -> Iterator[Host]:
    """One provider daemon for all tests of the package; its machines run the stand-in agent."""
    with tempfile.TemporaryDirectory() as base:
        host = Host(Path(base))
        yield host
        host.end()


@dataclass
class Fleet:
    """One tenant's instances, looked at one step at a time."""

    context: ControlContext
    host: Host
    app: FastAPI
    tenant: Tenant
    clients: list[TestClient] = field(default_factory=list)

    def request(self, requested_for: UUID | None = None) -> UUID:
        """An instance asked for on behalf of somebody, committed."""
        with self.context.database.unit_of_work() as session:
            session.merge(
                InstanceType(name=SHAPE, provider="local", vcpus=1, memory_bytes=2**30, gpus=0, description="")
            )
            session.flush()
            act_as(session, self.tenant.organization_id)
            row = service.request_instance(
                session,
                self.tenant.scope,
                project_id=self.tenant.project_id,
                instance_type=SHAPE,
                market="on-demand",
                requested_for=requested_for or new_id(),
            )
            return row.id

    def claim(self, instance_id: UUID) -> queue.Lease:
        """Lease this instance now, whatever its due time and whoever held it."""
        self.set(instance_id, due_at=func.clock_timestamp(), lease_token=None, lease_expires_at=None)
        with self.context.database.unit_of_work() as session:
            (lease,) = queue.claim(session, Instance, lease_seconds=30, limit=1, where=Instance.id == instance_id)
        return lease

    def look(self, instance_id: UUID) -> str:
        """One step of the controller; returns the status after it."""
        fleet.step(self.context, self.claim(instance_id))
        return self.row(instance_id).status

    def row(self, instance_id: UUID) -> Instance:
        with self.context.database.unit_of_work() as session:
            return session.get_one(Instance, instance_id)

    def set(self, instance_id: UUID, **values: Any) -> None:
        with self.context.database.unit_of_work() as session:
            session.execute(update(Instance).where(Instance.id == instance_id).values(**values))

    def folder(self, instance_id: UUID) -> Path:
        return self.host.home / "instances" / self.row(instance_id).tag

    def hello(self, instance_id: UUID) -> Hand:
        """What the machine's agent does first, with the token the machine was given."""
        token = self.folder(instance_id) / "environment"
        assert until(token.with_name("pids").exists)  # written after the token is complete
        hand = self.hand(instance_id, token.read_text())
        said = wire.HelloRequest(agent_version="1", hostname="h", cpu_count=1, memory_bytes=1, sandbox="bubblewrap")
        answer = hand.client.post("/agent/v1/hello", content=msgspec.json.encode(said))
        assert answer.status_code == 200, answer.text
        return hand

    def hand(self, instance_id: UUID, token: str) -> Hand:
        headers = {"Authorization": f"Bearer {token}"}
        self.clients.append(TestClient(self.app, headers=headers, raise_server_exceptions=False))
        return Hand(self.clients[-1], instance_id)

    def ready(self, requested_for: UUID | None = None) -> Hand:
        """A ready instance on a real machine; without `requested_for` whoever comes first may take it."""
        instance_id = self.request(requested_for)
        assert self.look(instance_id) == "provisioning"
        hand = self.hello(instance_id)
        assert self.look(instance_id) == "ready"
        if requested_for is None:
            self.set(instance_id, requested_for=None)
        return hand

    def end(self, instance_id: UUID) -> None:
        """Look until the provider has confirmed the end."""
        assert until(lambda: self.look(instance_id) == "terminated")

    def silence(self, instance_id: UUID, seconds: float) -> None:
        """Make the last heartbeat older, as silence would, with the API up all the time."""
        self.api(up_for=3600, silent_for=0)
        with self.context.database.unit_of_work() as session:
            session.execute(
                update(InstanceHeartbeat)
                .where(InstanceHeartbeat.instance_id == instance_id)
                .values(received_at=func.clock_timestamp() - timedelta(seconds=seconds))
            )

    def api(self, *, up_for: float, silent_for: float) -> None:
        """Since when the API has been up, and how long it has not beaten now."""
        now = func.clock_timestamp()
        values = {"up_since": now - timedelta(seconds=up_for), "beat_at": now - timedelta(seconds=silent_for)}
        with self.context.database.unit_of_work() as session:
            session.merge(ApiUptime(id=1, **values))

    def rewind(self, row: Any, **seconds: float) -> None:
        """Set times of a row to so many seconds ago."""
        values = {name: func.clock_timestamp() - timedelta(seconds=ago) for name, ago in seconds.items()}
        with self.context.database.unit_of_work() as session:
            session.execute(update(type(row)).where(type(row).id == row.id).values(**values))

    def assignment(self, assignment_id: str) -> Assignment:
        with self.context.database.unit_of_work() as session:
            return session.get_one(Assignment, UUID(assignment_id))

    def usage(self, source_kind: str | None = None) -> list[UsageRecord]:
        """What was recorded for the tenant, oldest first."""
        query = select(UsageRecord).where(UsageRecord.organization_id == self.tenant.organization_id)
        if source_kind is not None:
            query = query.where(UsageRecord.source_kind == source_kind)
        with self.context.database.unit_of_work() as session:
            return list(session.scalars(query.order_by(UsageRecord.from_at)))


@pytest.fixture
def fleet_context(
    app: FastAPI, controller_database: Database, api_settings: Settings, host: Host
) -> Iterator[ControlContext]:
    """What the instance controller runs in: the local provider, short graces, no broker."""
    control = ControlSettings(
        lost_after_seconds=5.0, stop_grace_seconds=1.0, boot_timeout_seconds=30.0, usage_slice_seconds=60.0
    )
    settings = api_settings.model_copy(update={"control": control, "localhost_socket": host.socket})
    yield ControlContext(controller_database, settings, app.state.storage, None)
    with controller_database.unit_of_work() as session:
        session.execute(delete(ApiUptime))


@pytest.fixture
def machines(fleet_context: ControlContext, host: Host, app: FastAPI, tenant: Tenant) -> Iterator[Fleet]:
    """The tenant's fleet; whatever machine it leaves is ended."""
    made = Fleet(fleet_context, host, app, tenant)
    yield made
    for client in made.clients:
        client.close()
    for machine in host.provider.list():
        host.provider.terminate(machine.tag)
    assert until(lambda: host.provider.list() == [])
