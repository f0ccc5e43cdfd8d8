"""Query plans with a long past behind them: the claim and the list enter their indexes and read what they return."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from backend.core import queue
from backend.core.db import Database, act_as, make_engine
from backend.core.pagination import PageRequest
from backend.core.settings import Settings, require
from backend.jobs.models import Job
from backend.jobs.repository import JobFilter, JobRepository
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand
from tests.fixtures.plans import plan_of, read_in_vain
from worker.context import ControlContext
from worker.tasks.jobs import control as jobs_control

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

ENDED = int(os.environ.get("MODELYARD_TEST_ENDED_JOBS", "100000"))
INSERT = text("""
    INSERT INTO jobs (id, organization_id, project_id, kind, name, parameters, inputs, output, instance_type, market,
        max_attempts, max_runtime_seconds, keep_alive_seconds, status, status_reason, progress, created_by, tags,
        created_at, ended_at, due_at)
    SELECT gen_random_uuid(), :organization, :project, 'sleep', 'old-' || n, '{}', '{}', '{}', :shape, 'on-demand',
        1, 60, 0, CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END, '', '{}', 'test', '{}',
        clock_timestamp() - n * interval '1 second', clock_timestamp(), NULL
    FROM generate_series(1, :count) n
""")


@pytest.fixture
def past(
    tenant: Tenant, controller_database: Database, ready_instance: Callable[..., Hand], owner: Database
) -> Iterator[Tenant]:
    """A tenant with many ended jobs and fresh statistics."""
    ready_instance(tenant)
    with controller_database.unit_of_work() as session:
        given = {"organization": tenant.organization_id, "project": tenant.project_id, "shape": SHAPE}
        session.execute(INSERT, given | {"count": ENDED})
    with owner.unit_of_work() as session:
        session.execute(text("ANALYZE jobs"))
    yield tenant
    with controller_database.unit_of_work() as session:
        session.execute(text("DELETE FROM jobs WHERE organization_id = :o"), {"o": tenant.organization_id})


@pytest.fixture
def owner(database_settings: Settings) -> Iterator[Database]:
    database = Database(make_engine(require(database_settings.database.owner_url, "owner"), pool_size=1))
    yield database
    database.dispose()


def test_the_claim_reads_due_rows_only(past: Tenant, submit: Callable[..., Any], controller_database: Database) -> None:
    for number in range(3):
        submit(past, f"nap-{number}")
    with controller_database.unit_of_work() as session:
        plan = plan_of(session, "jobs", lambda: queue.claim(session, Job, lease_seconds=30, limit=50))
        session.rollback()
    assert "ix_jobs_due" in plan, plan
    assert "Index Cond: (due_at <= statement_timestamp())" in plan, plan
    assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (JobFilter(), "ix_jobs_list"),
        (JobFilter(status="failed"), "ix_jobs_list_status"),
    ],
)
def test_a_page_under_row_security_reads_a_page(
    past: Tenant, controller_database: Database, where: JobFilter, index: str
) -> None:
    with controller_database.unit_of_work() as session:
        act_as(session, past.organization_id)
        repository = JobRepository(session, past.scope)
        page, cursor = repository.page(where, PageRequest(limit=50, cursor=None))
        assert len(page) == 50
        for request in (PageRequest(limit=50, cursor=None), PageRequest(limit=50, cursor=cursor)):
            plan = plan_of(session, "jobs", lambda request=request: repository.page(where, request))  # type: ignore[misc]  # bound now
            assert f"using {index} on jobs" in plan, plan
            assert read_in_vain(plan) == [], plan


def test_what_is_unfinished_is_counted_without_the_past(past: Tenant, controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        act_as(session, past.organization_id)
        plan = plan_of(session, "jobs", JobRepository(session, past.scope).count_unfinished)
    # Either holds: that of the tenant's jobs by status, and that of everybody's unfinished ones while they are few.
    assert any(f"using {index} on jobs" in plan for index in ("ix_jobs_list_status", "ix_jobs_unfinished")), plan
    assert read_in_vain(plan) == [], plan


def test_a_pass_over_many_jobs_of_several_tenants(
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
    ready_instance: Callable[..., Hand],
    context: ControlContext,
    record_property: Callable[[str, object], None],
) -> None:
    tenants = [make_tenant() for _ in range(4)]
    for tenant in tenants:
        ready_instance(tenant)
        client = make_client(tenant)
        for number in range(50):
            body = {"project_id": str(tenant.project_id), "name": f"nap-{number}", "instance_type": SHAPE}
            assert client.post("/api/v1/sleep-jobs", json=body).status_code == 201
    began, handled = time.perf_counter(), 0
    # Jobs of other tests may be due as well, and on a slow machine the first ones are due again before the last.
    while any(_statuses(make_client(tenant))["queued"] for tenant in tenants):
        count = jobs_control(context)
        assert count > 0
        handled += count
    milliseconds = (time.perf_counter() - began) * 1000 / handled
    record_property("milliseconds_per_job", milliseconds)
    print(f"{handled} jobs, {milliseconds:.1f} ms each")  # noqa: T201 - a figure for the reader
    for tenant in tenants:
        assert _statuses(make_client(tenant)) == {"starting": 1, "provisioning": 49}


def _statuses(client: TestClient) -> Counter[str]:
    """How many jobs of the tenant stand in each status."""
    items = client.get("/api/v1/jobs", params={"limit": 100}).json()["items"]
    return Counter(item["status"] for item in items)
