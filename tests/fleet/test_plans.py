"""Query plans of the instance controller with a long past behind it."""

import os
import re
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from backend.core import queue
from backend.core.db import Database, act_as, make_engine
from backend.core.ids import new_id
from backend.core.settings import Settings, require
from backend.fleet.models import Instance
from backend.fleet.repository import FleetRepository
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand
from tests.fixtures.plans import plan_of, rows_removed

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

ENDED = int(os.environ.get("MODELYARD_TEST_ENDED_INSTANCES", "30000"))
INSTANCES = text("""
    INSERT INTO instances (id, organization_id, project_id, tags, instance_type, market, provider, tag, status,
        status_reason, requested_for, agent, requested_at, terminated_at)
    SELECT gen_random_uuid(), :organization, :project, '{}', :shape, 'on-demand', 'test',
        'past-' || n || '-' || :organization, 'terminated', '', CASE WHEN n % 10 = 0 THEN gen_random_uuid() END, '{}',
        clock_timestamp() - n * interval '1 second', clock_timestamp()
    FROM generate_series(1, :count) n
""")
ASSIGNMENTS = text("""
    INSERT INTO assignments (id, organization_id, instance_id, subject_kind, subject_id, project_id, resource_kind,
        resource_id, resource_name, epoch, desired, spec, ended_at)
    SELECT gen_random_uuid(), organization_id, id, 'attempt', gen_random_uuid(), project_id, 'job', gen_random_uuid(),
        'nap', 1, 'run', '{}', clock_timestamp()
    FROM instances WHERE organization_id = :organization
""")
Ask = Callable[[FleetRepository, UUID, Tenant], object]


@pytest.fixture(scope="module")
def owner(database_settings: Settings) -> Iterator[Database]:
    database = Database(make_engine(require(database_settings.database.owner_url, "owner"), pool_size=1))
    yield database
    database.dispose()


@pytest.fixture
def past(
    tenant: Tenant, controller_database: Database, ready_instance: Callable[..., Hand], owner: Database
) -> Iterator[UUID]:
    """A ready instance of a tenant with many ended ones, and fresh statistics."""
    hand = ready_instance(tenant)
    given = {"organization": tenant.organization_id}
    with controller_database.unit_of_work() as session:
        session.execute(INSTANCES, given | {"project": tenant.project_id, "shape": SHAPE, "count": ENDED})
        session.execute(ASSIGNMENTS, given)
    with owner.unit_of_work() as session:
        session.execute(text("ANALYZE instances, assignments"))
    yield hand.instance_id
    with controller_database.unit_of_work() as session:
        session.execute(text("DELETE FROM assignments WHERE organization_id = :organization"), given)
        session.execute(text("DELETE FROM instances WHERE organization_id = :organization"), given)


def _idle(repository: FleetRepository, _: UUID, tenant: Tenant) -> object:
    return repository.idle(
        project_id=tenant.project_id, instance_type=SHAPE, market="on-demand", subject_ids=[new_id()]
    )


def test_the_controllers_questions_enter_indexes(past: UUID, controller_database: Database, tenant: Tenant) -> None:
    questions: list[tuple[str, str, Ask]] = [
        (
            "instances",
            "ix_instances_requested_for",
            lambda repository, _, __: repository.newest_requested_for([new_id()]),
        ),
        ("instances", "ix_instances_requested_for", lambda repository, _, __: repository.failed_requests(new_id())),
        ("instances", "ix_instances_open", lambda repository, _, __: repository.open_instances(SHAPE)),
        ("instances", "ix_instances_open", _idle),
        (
            "instances",
            "ix_instances_list",
            lambda repository, _, __: repository.instances(include_terminated=True, limit=50),
        ),
        ("assignments", "ix_assignments_instance", lambda repository, each, _: repository.last_assignment_end(each)),
        (
            "assignments",
            # Which of the two is cheaper depends on how many assignments are open at all.
            "ix_assignments_instance|uq_assignments_open_instance",
            lambda repository, each, _: repository.open_assignments(each),
        ),
    ]
    with controller_database.unit_of_work() as session:
        act_as(session, tenant.organization_id)
        repository = FleetRepository(session, tenant.scope)
        for table, index, ask in questions:
            plan = plan_of(session, table, lambda ask=ask: ask(repository, past, tenant))  # type: ignore[misc]  # bound now
            assert re.search(index, plan), plan
            assert "Seq Scan" not in plan, plan
            assert rows_removed(plan) < ENDED / 100, plan


def test_the_claim_of_instances_reads_due_rows_only(past: UUID, controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        queue.make_due(session, Instance, [past])
    with controller_database.unit_of_work() as session:
        plan = plan_of(session, "instances", lambda: queue.claim(session, Instance, lease_seconds=30, limit=50))
        session.rollback()
    assert "ix_instances_due" in plan, plan
