"""The agent and the real job engine: submitted over the public API, run in the sandbox, billed."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core.db import Database
from backend.fleet.models import Assignment
from tests.agent.conftest import Agents
from tests.agent.control_server import ControlServer
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand

pytestmark = pytest.mark.integration


@pytest.fixture
def api_url(app: FastAPI) -> Iterator[str]:
    """The application on a port of 127.0.0.1."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_a_sleep_job_runs_and_is_billed(
    *,
    api_url: str,
    client: TestClient,
    tenant: Tenant,
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    run_jobs: Callable[..., None],
    controller_database: Database,
    control: ControlServer,
    agents: Agents,
) -> None:
    hand = ready_instance(tenant)
    control.stop()
    token = hand.client.headers["Authorization"].removeprefix("Bearer ")
    job = submit(tenant, parameters={"seconds": 1.2})
    agents.start(MODELYARD_API_URL=api_url, MODELYARD_INSTANCE_TOKEN=token)
    deadline = time.monotonic() + 40
    found = job
    while found["status"] not in {"completed", "failed", "stopped"}:
        assert time.monotonic() < deadline, found
        run_jobs(tenant)
        time.sleep(0.2)
        found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert found["status"] == "completed", found
    assert found["output"]["summary"]["slept_seconds"] == pytest.approx(1.2)
    assert found["first_step_at"] is not None
    assert_billed_from_start_to_end(controller_database, tenant, least=Decimal("1.2"))


def assert_billed_from_start_to_end(database: Database, tenant: Tenant, *, least: Decimal) -> None:
    """The bill of the tenant's one assignment: gapless, `least` seconds or all there were.

    It runs from the accepted start report to the end report: where the first came late, less than was slept.
    """
    with database.unit_of_work() as session:
        records = session.scalars(
            select(UsageRecord)
            .where(UsageRecord.organization_id == tenant.organization_id)
            .order_by(UsageRecord.from_at)
        ).all()
        assignment = session.scalars(
            select(Assignment).where(Assignment.organization_id == tenant.organization_id)
        ).one()
    assert assignment.started_at is not None
    assert assignment.ended_at is not None
    accepted = Decimal((assignment.ended_at - assignment.started_at) // timedelta(milliseconds=1)) / 1000
    billed = sum((record.quantity for record in records), Decimal(0))
    assert min(least, accepted) <= billed <= accepted
    assert [record.from_at for record in records] == [assignment.started_at, *(record.to_at for record in records[:-1])]
