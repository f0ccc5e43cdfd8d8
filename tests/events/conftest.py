"""A tenant's events on the real database: the API that allows this host, the controls, a receiver."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, update
from starlette.testclient import TestClient

from backend.app import create_app
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.lifecycle import record_creation, transition
from backend.core.settings import EventSettings, Settings, SmtpSettings
from backend.core.storage import ObjectStore
from backend.events.models import EventDelivery, EventSubscription
from backend.fleet.models import InstanceType
from backend.jobs import states
from backend.jobs.models import Job
from tests.events.receiver import Receiver, receiving
from tests.fixtures.database import Tenant
from worker.context import ControlContext
from worker.tasks import events as task

SHAPE = "test.events"
PATIENCE = 20.0


@dataclass
class Teller:
    """One tenant whose jobs change, and the controls that tell of it."""

    tenant: Tenant
    app: Database
    context: ControlContext
    client: TestClient

    def subscribe(self, target: str, *types: str, **other: Any) -> dict[str, Any]:
        body = {"target": target, "event_types": list(types) or ["*"], **other}
        answer = self.client.post("/api/v1/event-subscriptions", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def job(self, *path: str, name: str | None = None) -> UUID:
        """A job that came to these statuses, one transaction each."""
        job_id = new_id()
        with self.app.unit_of_work(self.tenant.scope) as session:
            job = Job(
                id=job_id, organization_id=self.tenant.organization_id, project_id=self.tenant.project_id,
                kind="sleep", name=name or f"job-{job_id}", parameters={}, inputs={}, instance_type=SHAPE,
                market="on-demand", max_attempts=1, max_runtime_seconds=60, keep_alive_seconds=0,
                status=states.QUEUED, status_reason="submitted", created_by="user:somebody",
            )  # fmt: skip
            session.add(job)
            session.flush()
            record_creation(session, "job", job, reason="submitted", actor="user:somebody")
        for status in path:
            self.move(job_id, status)
        return job_id

    def move(self, job_id: UUID, status: str) -> None:
        with self.app.unit_of_work(self.tenant.scope) as session:
            job = session.get_one(Job, job_id, with_for_update=True)
            transition(session, "job", job, status, states.JOB, reason=f"now {status}", actor="controller")

    def tell(self) -> None:
        """One pass of the control, and wait until what it began has ended."""
        task.control(self.context)
        assert task.courier_of(self.context).wait(PATIENCE)

    def hurry(self) -> None:
        """What waits for its next attempt is due now; leases are over."""
        with self.app.unit_of_work(self.tenant.scope) as session:
            session.execute(
                update(EventDelivery)
                .where(EventDelivery.due_at.is_not(None))
                .values(due_at=func.clock_timestamp(), lease_token=None, lease_expires_at=None)
            )

    def log(self, **where: str) -> list[dict[str, Any]]:
        answer = self.client.get("/api/v1/event-deliveries", params=where)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@pytest.fixture(scope="session")
def event_settings(api_settings: Settings) -> Settings:
    events = EventSettings(
        allowed_hosts=("127.0.0.1",), timeout_seconds=2, disable_after_failures=3, disable_after_seconds=0
    )
    assert isinstance(api_settings.security.master_key, SecretStr)
    return api_settings.model_copy(update={"events": events, "smtp": SmtpSettings()})


@pytest.fixture
def make_teller(
    event_settings: Settings,
    app_database: Database,
    controller_database: Database,
    make_tenant: Callable[[], Tenant],
    make_key: Callable[..., str],
) -> Iterator[Callable[..., Teller]]:
    """Make a tenant whose events are told; afterwards nothing of this test is sent any more."""
    opened = []

    def make(**changes: Any) -> Teller:
        settings = event_settings.model_copy(update=changes)
        with controller_database.unit_of_work() as session:
            session.merge(InstanceType(name=SHAPE, provider="test", vcpus=1, memory_bytes=2**30, description=""))
        application = create_app(settings)
        opened.append(application)
        tenant = make_tenant()
        headers = {"Authorization": f"Bearer {make_key(tenant)}"}
        client = TestClient(application, headers=headers, raise_server_exceptions=False)
        context = ControlContext(controller_database, settings, ObjectStore(settings.object_url), None)
        return Teller(tenant, app_database, context, client)

    yield make
    for application in opened:
        application.state.database.dispose()
    with controller_database.unit_of_work() as session:
        session.execute(delete(EventSubscription))


@pytest.fixture
def teller(make_teller: Callable[..., Teller]) -> Teller:
    return make_teller()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made
