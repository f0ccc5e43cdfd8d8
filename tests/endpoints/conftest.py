"""A small world around endpoints: model versions, instances that boot, agents that report, a controller that ticks."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select, update
from starlette.testclient import TestClient

from backend import kinds
from backend.core import wire
from backend.core.clock import database_now
from backend.core.db import Database, act_as
from backend.core.ids import new_id
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from backend.endpoints.models import Endpoint, Gateway, Replica
from backend.endpoints.service import EndpointDetail, get_endpoint
from backend.fleet import service as fleet
from backend.fleet import states as fleet_states
from backend.fleet.models import Assignment, Instance, InstanceHeartbeat, InstanceType
from backend.fleet.sync import sync
from backend.registry.models import Model, ModelVersion
from tests.fixtures.database import Tenant
from tests.fixtures.engine import FIRST_IN_LINE
from worker.context import ControlContext
from worker.tasks import endpoints as task

TYPE = "test.endpoints"
IMAGE = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]}


@dataclass
class World:
    """One tenant's endpoints and everything that acts on them, on the real database."""

    tenant: Tenant
    app: Database
    controller: Database
    context: ControlContext
    seqs: dict[UUID, int] = field(default_factory=dict)

    def make_version(self, signature: dict[str, Any] | None = None, approval: str = "approved") -> UUID:
        """A registered model version; its one file is named after it."""
        version_id, model_id = new_id(), new_id()
        own = {"organization_id": self.tenant.organization_id}
        with self.controller.unit_of_work() as session:
            session.add(
                Model(
                    id=model_id,
                    project_id=self.tenant.project_id,
                    name=f"model-{model_id}",
                    description="",
                    created_by="t",
                    **own,
                )
            )
            session.flush()
            session.add(
                ModelVersion(
                    id=version_id,
                    model_id=model_id,
                    number=1,
                    files=[{"name": "model.onnx", "sha256": f"{version_id.int:064x}", "size_bytes": 5}],
                    size_bytes=5,
                    signature=signature or IMAGE,
                    metrics={},
                    report={},
                    approval_status=approval,
                    **own,
                )
            )
        return version_id

    def body(self, **other: Any) -> dict[str, Any]:
        """What POST /endpoints takes: variants fp32 (70) and int8 (30)."""
        variants = [
            {"name": "fp32", "model_version_id": str(self.make_version()), "weight": 70},
            {"name": "int8", "model_version_id": str(self.make_version()), "weight": 30},
        ]
        values: dict[str, Any] = {
            "project_id": str(self.tenant.project_id),
            "name": "digits",
            "instance_type": TYPE,
            "variants": variants,
        }
        return values | other

    def tick(self) -> int:
        """One control pass in which every endpoint of the tenant is due."""
        with self.controller.unit_of_work() as session:
            session.execute(
                update(Endpoint)
                .where(Endpoint.organization_id == self.tenant.organization_id, Endpoint.due_at.is_not(None))
                .values(due_at=func.clock_timestamp() - FIRST_IN_LINE)
            )
        return task.control(self.context)

    def boot(self) -> int:
        """Every requested instance becomes ready, as the instance controller makes it; returns how many."""
        with self.controller.unit_of_work() as session:
            act_as(session, self.tenant.organization_id)
            rows = session.scalars(select(Instance).where(Instance.status == fleet_states.REQUESTED)).all()
            for row in rows:
                fleet.move(session, row, fleet_states.PROVISIONING, "test")
                fleet.move(session, row, fleet_states.READY, "test")
                session.add(InstanceHeartbeat(instance_id=row.id, organization_id=row.organization_id))
            return len(rows)

    def say(self, replica: Replica, *bodies: wire.ReportBody, elapsed: float = 1.0) -> wire.SyncReply:
        """The replica's agent reports."""
        assert replica.assignment_id is not None
        assert replica.instance_id is not None
        reports = []
        for body in bodies:
            seq = self.seqs[replica.id] = self.seqs.get(replica.id, 0) + 1
            reports.append(
                wire.Report(
                    assignment_id=str(replica.assignment_id), epoch=1, seq=seq, elapsed_seconds=elapsed, body=body
                )
            )
        with self.app.unit_of_work(self.tenant.scope) as session:
            said = wire.SyncRequest(reports=reports)
            return sync(session, self.tenant.scope, replica.instance_id, said, self.context.settings)

    def ready(self, replica: Replica, *, ok: bool = True) -> None:
        """The replica starts and answers its probes."""
        probes = [
            wire.VariantProbe(variant=name, ok=ok, latency_ms=1.0, detail="" if ok else "wrong shape")
            for name in ("fp32", "int8")
        ]
        path = f"/run/{replica.id}.sock"
        self.say(replica, wire.Started(pid=7), wire.ReplicaReady(socket_path=path, probes=probes))

    def end(self, replica: Replica, outcome: Any = "stopped", failure: wire.Failure | None = None) -> None:
        """The replica's processes are gone."""
        self.say(replica, wire.Ended(outcome=outcome, failure=failure), elapsed=10.0)

    def detail(self, endpoint_id: UUID | str) -> EndpointDetail:
        """The endpoint as its tenant reads it."""
        with self.app.unit_of_work(self.tenant.scope) as session:
            return get_endpoint(session, self.tenant.scope, UUID(str(endpoint_id)))

    def status(self, endpoint_id: UUID | str) -> str:
        """The endpoint's status."""
        return self.detail(endpoint_id).endpoint.status

    def replicas(self, endpoint_id: UUID | str, *statuses: str) -> list[Replica]:
        """Open replicas, in these statuses if any are named."""
        found = self.detail(endpoint_id).replicas
        return [row for row in found if not statuses or row.status in statuses]

    def bring_up(self, endpoint_id: UUID | str) -> list[Replica]:
        """Tick, boot and answer probes until what is missing is in service."""
        self.tick()
        self.boot()
        self.tick()
        for replica in self.replicas(endpoint_id, "starting"):
            self.ready(replica)
        self.tick()
        return self.replicas(endpoint_id, "in_service")

    def assignment(self, replica: Replica) -> Assignment:
        """The replica's assignment."""
        with self.app.unit_of_work(self.tenant.scope) as session:
            return session.scalars(select(Assignment).where(Assignment.id == replica.assignment_id)).one()

    def later(self, seconds: float, *columns: str) -> None:
        """Move times of the tenant's replicas into the past, as if so many seconds had gone by."""
        values = {name: getattr(Replica, name) - func.make_interval(0, 0, 0, 0, 0, 0, seconds) for name in columns}
        with self.controller.unit_of_work() as session:
            session.execute(
                update(Replica).where(Replica.organization_id == self.tenant.organization_id).values(**values)
            )

    def now(self) -> Any:
        """Postgres's clock."""
        with self.app.unit_of_work(self.tenant.scope) as session:
            return database_now(session)


@pytest.fixture(scope="session")
def control_context(
    controller_database: Database, database_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> ControlContext:
    """What control tasks get."""
    kinds.install()
    objects: Path = tmp_path_factory.mktemp("objects")
    with controller_database.unit_of_work() as session:
        session.merge(
            InstanceType(name=TYPE, provider="test", vcpus=2, memory_bytes=4 * 1024**3, gpus=0, description="")
        )
    return ControlContext(controller_database, database_settings, ObjectStore(f"file://{objects}"), None)


@pytest.fixture
def make_world(
    control_context: ControlContext, app_database: Database, controller_database: Database
) -> Iterator[Callable[[Tenant], World]]:
    """A world around a tenant; afterwards nothing of it is due."""
    yield lambda tenant: World(tenant, app_database, controller_database, control_context)
    with controller_database.unit_of_work() as session:
        session.execute(update(Endpoint).values(due_at=None, lease_token=None))


@pytest.fixture
def make_gateway(app: FastAPI, controller_database: Database) -> Iterator[Callable[[], TestClient]]:
    """Make a gateway with its token; afterwards no endpoint of another test waits for it."""
    made: list[bytes] = []

    def make() -> TestClient:
        token = secrets.token_urlsafe()
        made.append(hashlib.sha256(token.encode()).digest())
        with controller_database.unit_of_work() as session:
            session.add(Gateway(name=f"gateway-{new_id()}", token_hash=made[-1]))
        return TestClient(app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)

    yield make
    with controller_database.unit_of_work() as session:
        session.execute(delete(Gateway).where(Gateway.token_hash.in_(made)))


@pytest.fixture
def gateway(make_gateway: Callable[[], TestClient]) -> TestClient:
    """A gateway with its token."""
    return make_gateway()


@pytest.fixture
def world(make_world: Callable[[Tenant], World], tenant: Tenant) -> World:
    """A world around the test's tenant."""
    return make_world(tenant)
