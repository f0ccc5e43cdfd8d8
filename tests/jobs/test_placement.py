"""Placement and its edges: what a job does while it has no instance, and when the one it was given does nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.billing.models import SpendingHold
from backend.core import wire
from backend.core.db import Database
from backend.fleet.models import Assignment, Instance, InstanceType
from backend.jobs.models import Job
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand, api_has_been_up

pytestmark = pytest.mark.integration

Submit = Callable[..., dict[str, Any]]
RunJobs = Callable[..., None]


@pytest.fixture(autouse=True)
def shape(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        session.merge(InstanceType(name=SHAPE, provider="test", vcpus=1, memory_bytes=2**30, gpus=0, description=""))
        api_has_been_up(session)


def asked_for(database: Database, job: dict[str, Any]) -> list[Instance]:
    """Instances that were asked for on behalf of the job, oldest first."""
    with database.unit_of_work() as session:
        mine = Instance.requested_for == UUID(job["id"])
        return list(session.scalars(select(Instance).where(mine).order_by(Instance.id)))


def found(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/api/v1/jobs/{job['id']}").json()
    return answer


def test_one_instance_is_asked_for_and_waited_for(
    client: TestClient, tenant: Tenant, submit: Submit, run_jobs: RunJobs, controller_database: Database
) -> None:
    job = submit(tenant)
    for _ in range(3):
        run_jobs(tenant)
    (instance,) = asked_for(controller_database, job)
    assert found(client, job)["status"] == "provisioning"
    assert found(client, job)["status_reason"] == f"its {SHAPE} instance is requested: {instance.status_reason}"


def test_a_job_stopped_while_its_instance_boots_gives_it_up(
    client: TestClient, tenant: Tenant, submit: Submit, run_jobs: RunJobs, controller_database: Database
) -> None:
    job = submit(tenant)
    run_jobs(tenant)
    (instance,) = asked_for(controller_database, job)
    client.post(f"/api/v1/jobs/{job['id']}/stop")
    run_jobs(tenant)
    assert found(client, job)["status"] == "stopped"
    with controller_database.unit_of_work() as session:
        row = session.get_one(Instance, instance.id)
        assert row.requested_for is None
        assert row.due_at is not None


def test_a_job_fails_when_no_instance_can_be_had(
    client: TestClient, tenant: Tenant, submit: Submit, run_jobs: RunJobs, controller_database: Database
) -> None:
    job = submit(tenant)
    for _ in range(3):
        run_jobs(tenant)
        instance = asked_for(controller_database, job)[-1]
        with controller_database.unit_of_work() as session:
            gone = {"status": "terminated", "status_reason": "the provider refused: none left"}
            session.execute(update(Instance).where(Instance.id == instance.id).values(**gone))
    run_jobs(tenant)
    assert len(asked_for(controller_database, job)) == 3
    failure = found(client, job)["failure"]
    assert failure["failure_class"] == "capacity"
    assert failure["reason"] == f"no {SHAPE} instance could be had: the provider refused: none left"


def test_while_spending_is_on_hold_a_job_is_queued_and_gives_its_instance_up(
    client: TestClient, tenant: Tenant, submit: Submit, run_jobs: RunJobs, controller_database: Database
) -> None:
    job = submit(tenant)
    run_jobs(tenant)
    with controller_database.unit_of_work() as session:
        hold = SpendingHold(organization_id=tenant.organization_id, project_id=None, reason="the budget is used up")
        session.add(hold)
    run_jobs(tenant)
    waiting = found(client, job)
    assert (waiting["status"], waiting["status_reason"]) == ("queued", "spending is on hold: the budget is used up")
    assert asked_for(controller_database, job) == []
    with controller_database.unit_of_work() as session:
        session.execute(update(SpendingHold).where(SpendingHold.id == hold.id).values(lifted_at=func.now()))
    run_jobs(tenant)
    assert found(client, job)["status"] == "provisioning"
    assert len(asked_for(controller_database, job)) == 1


def test_a_job_that_lost_its_instance_to_the_quota_is_queued_again(
    *,
    client: TestClient,
    tenant: Tenant,
    submit: Submit,
    run_jobs: RunJobs,
    controller_database: Database,
    set_quota: Callable[..., None],
) -> None:
    job = submit(tenant)
    run_jobs(tenant)
    (instance,) = asked_for(controller_database, job)
    with controller_database.unit_of_work() as session:
        session.execute(update(Instance).where(Instance.id == instance.id).values(status="terminated"))
    set_quota(tenant, SHAPE, 0)
    run_jobs(tenant)
    waiting = found(client, job)
    assert (waiting["status"], waiting["status_reason"]) == (
        "queued",
        f"waiting for quota: 0 of 0 {SHAPE} instances are in use",
    )


def test_an_assignment_that_the_agent_never_takes_up_is_lost(
    *,
    client: TestClient,
    tenant: Tenant,
    submit: Submit,
    run_jobs: RunJobs,
    ready_instance: Callable[..., Hand],
    controller_database: Database,
) -> None:
    hand = ready_instance(tenant)
    job = submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    run_jobs(tenant)
    assert found(client, job)["status"] == "starting"
    with controller_database.unit_of_work() as session:
        past = func.clock_timestamp() - timedelta(seconds=60)
        session.execute(update(Assignment).where(Assignment.id == UUID(assignment.id)).values(created_at=past))
    hand.sync()
    run_jobs(tenant)
    (attempt,) = client.get(f"/api/v1/jobs/{job['id']}/attempts").json()["items"]
    assert (attempt["status"], attempt["status_reason"]) == (
        "interrupted",
        "attempt 1 was lost: the agent never took it up",
    )


def test_a_start_said_twice_counts_once(
    *,
    client: TestClient,
    tenant: Tenant,
    submit: Submit,
    run_jobs: RunJobs,
    ready_instance: Callable[..., Hand],
    controller_database: Database,
) -> None:
    hand = ready_instance(tenant)
    job = submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    run_jobs(tenant)
    with controller_database.unit_of_work() as session:
        first = session.get_one(Assignment, UUID(assignment.id)).started_at
    hand.sync(wire.Started(pid=2), assignment=assignment, elapsed=1)
    run_jobs(tenant)
    assert found(client, job)["status"] == "running"
    with controller_database.unit_of_work() as session:
        assert session.get_one(Assignment, UUID(assignment.id)).started_at == first
        assert session.get_one(Job, UUID(job["id"])).lease_token is None


def test_an_idle_instance_goes_to_one_job_only(
    *,
    client: TestClient,
    tenant: Tenant,
    submit: Submit,
    run_jobs: RunJobs,
    ready_instance: Callable[..., Hand],
) -> None:
    hand = ready_instance(tenant)
    jobs = [submit(tenant, f"nap-{number}") for number in range(3)]
    run_jobs(tenant)
    assert sorted(found(client, job)["status"] for job in jobs) == ["provisioning", "provisioning", "starting"]
    assert len(hand.sync().assignments) == 1


def test_another_project_never_gets_the_instance(
    client: TestClient, tenant: Tenant, submit: Submit, run_jobs: RunJobs, ready_instance: Callable[..., Hand]
) -> None:
    ready_instance(tenant)
    project = client.post("/api/v1/projects", json={"name": "other"}).json()
    job = submit(tenant, project_id=project["id"])
    run_jobs(tenant)
    assert found(client, job)["status"] == "provisioning"


def test_a_spot_notice_drains_the_instance_and_moves_the_job(
    *,
    client: TestClient,
    tenant: Tenant,
    submit: Submit,
    run_jobs: RunJobs,
    ready_instance: Callable[..., Hand],
) -> None:
    hand = ready_instance(tenant)
    job = submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    reply = hand.send(wire.SyncRequest(interruption_notice="terminated in two minutes"))
    assert reply.drain
    run_jobs(tenant)
    (wanted,) = hand.sync().assignments
    assert (wanted.desired, wanted.stop_reason) == ("stop", "its instance is drained")
    hand.sync(wire.Ended(outcome="stopped"), assignment=assignment, elapsed=0.1)
    run_jobs(tenant)
    (attempt,) = client.get(f"/api/v1/jobs/{job['id']}/attempts").json()["items"]
    assert (attempt["status"], attempt["failure"]["failure_class"]) == ("interrupted", "interruption")
    run_jobs(tenant)
    assert found(client, job)["status"] == "provisioning"
