"""Jobs of a tenant in one transaction: a row at fault holds up no other, a stale one is dropped, all else stays."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.core import queue, wire
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.lifecycle import Event
from backend.fleet.models import Assignment, AssignmentHeartbeat, Instance, InstanceHeartbeat, InstanceType
from backend.jobs.following import postpone_undisturbed
from backend.jobs.models import Attempt, Job
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand, api_has_been_up
from worker.context import ControlContext
from worker.leases import RETRY_AFTER, work_in_groups
from worker.tasks.jobs import move_group

pytestmark = pytest.mark.integration

Submit = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def shape(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        session.merge(InstanceType(name=SHAPE, provider="test", vcpus=1, memory_bytes=2**30, gpus=0, description=""))
        api_has_been_up(session)


@pytest.fixture
def claim(context: ControlContext) -> Callable[..., list[queue.Lease]]:
    """Lease the due jobs of some tenants, oldest first."""

    def take(*tenants: Tenant, lease_seconds: float = 30) -> list[queue.Lease]:
        mine = Job.organization_id.in_([tenant.organization_id for tenant in tenants])
        with context.database.unit_of_work() as session:
            return queue.claim(session, Job, lease_seconds=lease_seconds, limit=100, where=mine)

    return take


def statuses(context: ControlContext, tenant: Tenant) -> dict[str, str]:
    with context.database.unit_of_work() as session:
        rows = session.execute(select(Job.name, Job.status).where(Job.organization_id == tenant.organization_id))
        return {row.name: row.status for row in rows}


def test_a_batch_places_the_oldest_first_and_asks_for_the_rest(
    *,
    context: ControlContext,
    tenant: Tenant,
    submit: Submit,
    claim: Callable[..., list[queue.Lease]],
    ready_instance: Callable[..., Hand],
    set_quota: Callable[..., None],
) -> None:
    set_quota(tenant, SHAPE, 4)
    ids = {f"nap-{number}": submit(tenant, f"nap-{number}")["id"] for number in range(5)}
    hands = {hand.instance_id for hand in (ready_instance(tenant) for _ in range(3))}
    assert work_in_groups(context, Job, claim(tenant), move_group) == 5
    assert statuses(context, tenant) == {
        "nap-0": "starting", "nap-1": "starting", "nap-2": "starting", "nap-3": "provisioning", "nap-4": "queued"
    }  # fmt: skip
    with context.database.unit_of_work() as session:
        mine = Assignment.organization_id == tenant.organization_id
        attempts = session.scalars(select(Attempt).where(Attempt.organization_id == tenant.organization_id)).all()
        assignments = {row.id: row for row in session.scalars(select(Assignment).where(mine))}
        waiting = session.get_one(Job, UUID(ids["nap-4"]))
        events = session.execute(
            select(Event.resource_kind, Event.from_status, Event.to_status, func.count())
            .where(Event.organization_id == tenant.organization_id, Event.to_status == "starting")
            .group_by(Event.resource_kind, Event.from_status, Event.to_status)
        ).all()
    assert "waiting for quota: 4 of 4" in waiting.status_reason
    assert {attempt.instance_id for attempt in attempts} == hands, "three instances, one job each"
    assert all(assignments[each.assignment_id].subject_id == each.id for each in attempts)
    assert sorted(map(tuple, events), key=str) == [("attempt", None, "starting", 3), ("job", "queued", "starting", 3)]


def test_a_poisoned_row_holds_up_no_other_of_its_batch(
    *,
    context: ControlContext,
    tenant: Tenant,
    submit: Submit,
    claim: Callable[..., list[queue.Lease]],
    ready_instance: Callable[..., Hand],
) -> None:
    ids = {f"nap-{number}": UUID(submit(tenant, f"nap-{number}")["id"]) for number in range(4)}
    for _ in ids:
        ready_instance(tenant)
    with context.database.unit_of_work() as session:
        session.execute(update(Job).where(Job.id == ids["nap-1"]).values(kind="no kind of this build"))
    work_in_groups(context, Job, claim(tenant), move_group)
    assert statuses(context, tenant) == {
        "nap-0": "starting", "nap-1": "queued", "nap-2": "starting", "nap-3": "starting"
    }  # fmt: skip
    with context.database.unit_of_work() as session:
        bad = session.get_one(Job, ids["nap-1"])
        assert bad.lease_token is None
        assert bad.due_at is not None
        assert timedelta(0) < bad.due_at - database_now(session) <= RETRY_AFTER
        numbers = session.scalars(select(Attempt.number).where(Attempt.organization_id == tenant.organization_id)).all()
        assert numbers == [1, 1, 1], "what the failed try of the batch had made is gone"


def test_a_stale_row_is_dropped_and_the_others_are_recorded(
    *,
    context: ControlContext,
    tenant: Tenant,
    submit: Submit,
    claim: Callable[..., list[queue.Lease]],
    ready_instance: Callable[..., Hand],
) -> None:
    ids = {f"nap-{number}": UUID(submit(tenant, f"nap-{number}")["id"]) for number in range(3)}
    for _ in ids:
        ready_instance(tenant)
    stale = claim(tenant)
    with context.database.unit_of_work() as session:
        past = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == ids["nap-1"]).values(lease_expires_at=past))
    (fresh,) = claim(tenant)
    assert fresh.row_id == ids["nap-1"]
    assert move_group(context, tenant.organization_id, stale) == 2
    assert statuses(context, tenant) == {"nap-0": "starting", "nap-1": "queued", "nap-2": "starting"}
    with context.database.unit_of_work() as session:
        assert session.get_one(Job, ids["nap-1"]).lease_token == fresh.token
    assert move_group(context, tenant.organization_id, [fresh]) == 1
    assert statuses(context, tenant)["nap-1"] == "starting"
    assert move_group(context, tenant.organization_id, stale) == 0


def test_a_batch_of_several_tenants_gives_each_its_own_instances(
    *,
    context: ControlContext,
    make_tenant: Callable[[], Tenant],
    submit: Submit,
    claim: Callable[..., list[queue.Lease]],
    ready_instance: Callable[..., Hand],
) -> None:
    tenants = [make_tenant() for _ in range(3)]
    hands = {tenant.organization_id: ready_instance(tenant).instance_id for tenant in tenants[:2]}
    for number in range(2):
        for tenant in tenants:
            submit(tenant, f"nap-{number}")
    assert work_in_groups(context, Job, claim(*tenants), move_group) == 6
    for tenant in tenants[:2]:
        assert statuses(context, tenant) == {"nap-0": "starting", "nap-1": "provisioning"}
    assert statuses(context, tenants[2]) == {"nap-0": "provisioning", "nap-1": "provisioning"}
    with context.database.unit_of_work() as session:
        found = session.execute(select(Attempt.organization_id, Attempt.instance_id)).all()
        assert {row.organization_id: row.instance_id for row in found if row.organization_id in hands} == hands


def _report(hand: Hand, assignment: wire.Assignment, _: Database) -> None:
    hand.sync(wire.Progress(step=1, total_steps=9, phase="training"), assignment=assignment, elapsed=1)


def _silence(hand: Hand, _: wire.Assignment, database: Database) -> None:
    with database.unit_of_work() as session:
        mine = InstanceHeartbeat.instance_id == hand.instance_id
        long_ago = func.clock_timestamp() - timedelta(seconds=60)
        session.execute(update(InstanceHeartbeat).where(mine).values(received_at=long_ago))


def _forgotten(_: Hand, assignment: wire.Assignment, database: Database) -> None:
    with database.unit_of_work() as session:
        mine = AssignmentHeartbeat.assignment_id == UUID(assignment.id)
        long_ago = func.clock_timestamp() - timedelta(seconds=60)
        session.execute(update(AssignmentHeartbeat).where(mine).values(received_at=long_ago))


def _drain(hand: Hand, _: wire.Assignment, database: Database) -> None:
    with database.unit_of_work() as session:
        mine = Instance.id == hand.instance_id
        session.execute(update(Instance).where(mine).values(drain_requested_at=func.clock_timestamp()))


def _gone(hand: Hand, _: wire.Assignment, database: Database) -> None:
    with database.unit_of_work() as session:
        session.execute(update(Instance).where(Instance.id == hand.instance_id).values(status="terminating"))


def _stop(_: Hand, assignment: wire.Assignment, database: Database) -> None:
    assert assignment.attempt is not None
    with database.unit_of_work() as session:
        mine = Job.id == UUID(assignment.attempt.job_id)
        session.execute(update(Job).where(mine).values(stop_requested_at=func.clock_timestamp()))


@pytest.mark.parametrize("disturb", [None, _report, _silence, _forgotten, _drain, _gone, _stop])
def test_a_job_is_passed_over_only_while_nothing_happens(
    *,
    context: ControlContext,
    tenant: Tenant,
    submit: Submit,
    run_jobs: Callable[..., None],
    ready_instance: Callable[..., Hand],
    disturb: Callable[[Hand, wire.Assignment, Database], None] | None,
) -> None:
    hand = ready_instance(tenant)
    job_id = UUID(submit(tenant)["id"])
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    run_jobs(tenant)
    if disturb is not None:
        disturb(hand, assignment, context.database)
    with context.database.unit_of_work() as session:
        first = func.clock_timestamp() - timedelta(days=30)
        session.execute(update(Job).where(Job.id == job_id).values(due_at=first, lease_token=None))
    with context.database.unit_of_work() as session:
        looked, left = postpone_undisturbed(session, context.settings.control, limit=1)
    passed_over = disturb is None
    assert looked == (0 if disturb is _stop else 1)
    assert left == looked - passed_over
    with context.database.unit_of_work() as session:
        due_at = session.get_one(Job, job_id).due_at
        assert due_at is not None
        assert (due_at > database_now(session)) is passed_over


def test_a_job_that_somebody_leases_is_not_passed_over(
    *,
    context: ControlContext,
    tenant: Tenant,
    submit: Submit,
    run_jobs: Callable[..., None],
    ready_instance: Callable[..., Hand],
    claim: Callable[..., list[queue.Lease]],
    client: TestClient,
) -> None:
    hand = ready_instance(tenant)
    job_id = UUID(submit(tenant)["id"])
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    with context.database.unit_of_work() as session:
        first = func.clock_timestamp() - timedelta(days=30)
        session.execute(update(Job).where(Job.id == job_id).values(due_at=first, lease_token=None))
    (lease,) = claim(tenant)
    with context.database.unit_of_work() as session:
        postpone_undisturbed(session, context.settings.control, limit=1000)
    with context.database.unit_of_work() as session:
        assert session.get_one(Job, job_id).lease_token == lease.token
    assert move_group(context, tenant.organization_id, [lease]) == 1
    assert client.get(f"/api/v1/jobs/{job_id}").json()["status"] == "running"
