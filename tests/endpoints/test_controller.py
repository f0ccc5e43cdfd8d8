"""Every transition of endpoints and replicas, and what a lease owes (STYLE.md 13)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.billing.models import SpendingHold, UsageRecord
from backend.core import queue, wire
from backend.endpoints import states
from backend.endpoints.models import Endpoint, Replica
from backend.fleet.models import Assignment, Instance, InstanceHeartbeat, Quota
from tests.endpoints.conftest import TYPE, World
from tests.fixtures.engine import api_has_been_up
from worker.tasks import endpoints as task

pytestmark = pytest.mark.integration
URL = "/api/v1/endpoints"
CRASH = wire.Failure(failure_class="user_code", reason="the model could not be loaded")


@pytest.fixture
def create(client: TestClient, world: World) -> Callable[..., str]:
    """Create an endpoint over the API; returns its id."""

    def make(**other: Any) -> str:
        answer = client.post(URL, json=world.body(**other))
        assert answer.status_code == 201, answer.text
        endpoint_id: str = answer.json()["id"]
        return endpoint_id

    return make


def test_states_only_lead_to_states() -> None:
    for transitions in (states.ENDPOINT, states.REPLICA):
        assert {to for targets in transitions.values() for to in targets} <= set(transitions)


def test_an_endpoint_is_in_service_when_every_replica_answered(create: Callable[..., str], world: World) -> None:
    endpoint_id = create(replica_count=2)
    world.tick()
    assert [row.status for row in world.replicas(endpoint_id)] == ["pending", "pending"]
    assert world.boot() == 2
    world.tick()
    first, second = world.replicas(endpoint_id, "starting")
    spec = wire.ReplicaSpec(**{**world.assignment(first).spec, "variants": []})
    assert (spec.endpoint_name, spec.organization_id) == ("digits", str(world.tenant.organization_id))
    world.ready(first)
    world.tick()
    assert world.status(endpoint_id) == "creating"
    assert "1 of 2 replicas" in world.detail(endpoint_id).endpoint.status_reason
    world.ready(second)
    world.tick()
    detail = world.detail(endpoint_id)
    assert (detail.endpoint.status, detail.endpoint.live_config_id) == ("in_service", detail.wanted.config.id)
    assert detail.endpoint.in_service_at is not None
    assert {row.socket_path for row in detail.replicas} == {f"/run/{row.id}.sock" for row in detail.replicas}


def test_other_weights_keep_the_replicas_and_the_status(
    client: TestClient, create: Callable[..., str], world: World
) -> None:
    endpoint_id = create()
    (before,) = world.bring_up(endpoint_id)
    client.patch(f"{URL}/{endpoint_id}/weights", json={"weights": {"fp32": 1}})
    world.tick()
    detail = world.detail(endpoint_id)
    assert detail.endpoint.status == "in_service"
    assert detail.live is not None
    assert [one.weight for one in detail.live.variants] == [1, 30]
    assert [row.id for row in detail.replicas] == [before.id]


def test_a_new_config_answers_before_the_old_one_stops(
    client: TestClient, create: Callable[..., str], world: World
) -> None:
    endpoint_id = create()
    (old,) = world.bring_up(endpoint_id)
    config = {key: value for key, value in world.body().items() if key in ("instance_type", "variants")}
    client.put(f"{URL}/{endpoint_id}/config", json=config)
    world.tick()
    assert world.status(endpoint_id) == "updating"
    assert {row.status for row in world.replicas(endpoint_id)} == {"in_service", "pending"}
    world.boot()
    world.tick()
    (new,) = world.replicas(endpoint_id, "starting")
    assert [row.id for row in world.replicas(endpoint_id, "in_service")] == [old.id]
    world.ready(new)
    world.tick()
    assert world.status(endpoint_id) == "in_service"
    assert [row.id for row in world.replicas(endpoint_id, "draining")] == [old.id]
    assert world.assignment(old).desired == "run"
    world.later(5, "draining_at")
    world.tick()
    assert [row.id for row in world.replicas(endpoint_id, "stopping")] == [old.id]
    assert world.assignment(old).desired == "stop"
    world.end(old)
    world.tick()
    assert [row.id for row in world.replicas(endpoint_id)] == [new.id]


def test_more_and_fewer_replicas_replace_none(client: TestClient, create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    (first,) = world.bring_up(endpoint_id)
    variants = [
        {"name": one.name, "model_version_id": str(one.model_version_id), "weight": 1}
        for one in world.detail(endpoint_id).wanted.variants
    ]
    config = {"instance_type": TYPE, "replica_count": 2, "variants": variants}
    client.put(f"{URL}/{endpoint_id}/config", json=config)
    assert {row.id for row in world.bring_up(endpoint_id)} >= {first.id}
    assert len(world.replicas(endpoint_id, "in_service")) == 2
    client.put(f"{URL}/{endpoint_id}/config", json=config | {"replica_count": 1})
    world.tick()
    assert [row.id for row in world.replicas(endpoint_id, "in_service")] == [first.id]
    assert len(world.replicas(endpoint_id, "draining")) == 1
    assert world.status(endpoint_id) == "in_service"


def test_a_replica_that_ends_is_replaced_after_a_pause(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    (first,) = world.bring_up(endpoint_id)
    world.end(first, "failed", CRASH)
    world.tick()
    assert world.status(endpoint_id) == "out_of_service"
    assert world.replicas(endpoint_id) == []
    world.later(2, "ended_at")
    world.bring_up(endpoint_id)
    assert world.status(endpoint_id) == "in_service"
    assert world.replicas(endpoint_id)[0].id != first.id


def test_a_replica_whose_agent_is_silent_is_lost_and_replaced(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    (first,) = world.bring_up(endpoint_id)
    with world.controller.unit_of_work() as session:
        api_has_been_up(session)
        session.execute(
            update(InstanceHeartbeat)
            .where(InstanceHeartbeat.instance_id == first.instance_id)
            .values(received_at=func.clock_timestamp() - timedelta(minutes=5))
        )
    world.tick()
    assert world.status(endpoint_id) == "out_of_service"
    with world.app.unit_of_work(world.tenant.scope) as session:
        row = session.get(Replica, first.id)
        assert row is not None
        assert (row.status, row.failure and row.failure["failure_class"]) == ("lost", "interruption")
    assert world.assignment(first).ended_at is not None


def test_a_failed_probe_is_a_failure_with_its_reason(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    world.tick()
    world.boot()
    world.tick()
    (replica,) = world.replicas(endpoint_id, "starting")
    world.ready(replica, ok=False)
    world.tick()
    assert [row.status for row in world.replicas(endpoint_id)] == ["stopping"]
    assert world.assignment(replica).desired == "stop"
    world.end(replica)
    world.tick()
    with world.app.unit_of_work(world.tenant.scope) as session:
        row = session.get(Replica, replica.id)
        assert row is not None
        assert row.status == "failed"
        assert "wrong shape" in row.status_reason
    assert world.status(endpoint_id) == "creating"


def test_a_replica_that_never_gets_ready_is_stopped(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    world.tick()
    world.boot()
    world.tick()
    world.later(600, "assigned_at")
    world.tick()
    (row,) = world.replicas(endpoint_id)
    assert row.status == "stopping"
    assert row.failure is not None
    assert row.failure["failure_class"] == "timeout"


def fail_five_times(world: World, endpoint_id: str) -> None:
    for _ in range(5):
        world.tick()
        world.boot()
        world.tick()
        (replica,) = world.replicas(endpoint_id, "starting")
        world.say(replica, wire.Started(pid=1))
        world.end(replica, "failed", CRASH)
        world.tick()
        world.later(120, "ended_at")


def test_five_failures_in_a_row_fail_the_endpoint_and_a_new_config_starts_over(
    client: TestClient, create: Callable[..., str], world: World
) -> None:
    endpoint_id = create()
    fail_five_times(world, endpoint_id)
    world.tick()
    detail = world.detail(endpoint_id)
    assert detail.endpoint.status == "failed"
    assert "could not be loaded" in detail.endpoint.status_reason
    assert detail.endpoint.due_at is None
    assert detail.replicas == []
    ended = client.get(f"{URL}/{endpoint_id}/replicas").json()["items"]
    assert [(row["status"], row["failure"]["failure_class"]) for row in ended] == [("failed", "user_code")] * 5
    config = {key: value for key, value in world.body().items() if key in ("instance_type", "variants")}
    client.put(f"{URL}/{endpoint_id}/config", json=config)
    world.bring_up(endpoint_id)
    assert world.status(endpoint_id) == "in_service"


def test_an_update_that_fails_goes_back_to_the_live_config(
    client: TestClient, create: Callable[..., str], world: World
) -> None:
    endpoint_id = create()
    (old,) = world.bring_up(endpoint_id)
    live = world.detail(endpoint_id).endpoint.live_config_id
    config = {key: value for key, value in world.body().items() if key in ("instance_type", "variants")}
    client.put(f"{URL}/{endpoint_id}/config", json=config)
    fail_five_times(world, endpoint_id)
    world.tick()
    detail = world.detail(endpoint_id)
    assert (detail.endpoint.status, detail.endpoint.wanted_config_id) == ("in_service", live)
    assert [row.id for row in detail.replicas] == [old.id]
    events = client.get(f"{URL}/{endpoint_id}/events").json()["items"]
    assert "rolled back" in events[-1]["reason"]


def test_without_quota_a_replica_waits_and_says_so(create: Callable[..., str], world: World) -> None:
    with world.controller.unit_of_work() as session:
        session.add(Quota(organization_id=world.tenant.organization_id, instance_type=TYPE, max_instances=0))
    endpoint_id = create()
    world.tick()
    assert "waiting for quota" in world.detail(endpoint_id).endpoint.status_reason
    with world.controller.unit_of_work() as session:
        session.execute(
            update(Quota).where(Quota.organization_id == world.tenant.organization_id).values(max_instances=1)
        )
    world.bring_up(endpoint_id)
    assert world.status(endpoint_id) == "in_service"


def test_a_hold_on_spending_stops_new_replicas_and_leaves_old_ones(create: Callable[..., str], world: World) -> None:
    endpoint_id = create(replica_count=2)
    first, _ = world.bring_up(endpoint_id)
    with world.controller.unit_of_work() as session:
        session.add(SpendingHold(organization_id=world.tenant.organization_id, project_id=None, reason="budget used"))
    world.end(first, "failed", CRASH)
    world.later(60, "ready_at")
    world.tick()
    world.later(60, "ended_at")
    world.tick()
    assert len(world.replicas(endpoint_id)) == 1
    assert world.status(endpoint_id) == "in_service"


def test_deleting_stops_all_and_ends_with_the_last_replica(
    client: TestClient, create: Callable[..., str], world: World
) -> None:
    endpoint_id = create()
    (replica,) = world.bring_up(endpoint_id)
    assert client.delete(f"{URL}/{endpoint_id}").status_code == 202
    world.tick()
    assert world.status(endpoint_id) == "deleting"
    assert world.assignment(replica).desired == "stop"
    world.end(replica)
    world.tick()
    assert world.status(endpoint_id) == "deleted"
    assert client.delete(f"{URL}/{endpoint_id}").status_code == 404
    events = client.get(f"{URL}/{endpoint_id}/events").json()["items"]
    assert [event["to_status"] for event in events] == ["creating", "in_service", "deleting", "deleted"]


def test_a_replica_on_a_draining_instance_is_replaced_before_it_goes(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    (first,) = world.bring_up(endpoint_id)
    with world.controller.unit_of_work() as session:
        session.execute(
            update(Instance).where(Instance.id == first.instance_id).values(drain_requested_at=func.clock_timestamp())
        )
    world.tick()
    assert world.status(endpoint_id) == "in_service"
    assert {row.status for row in world.replicas(endpoint_id)} == {"in_service", "pending"}
    world.bring_up(endpoint_id)
    assert [row.id for row in world.replicas(endpoint_id, "draining")] == [first.id]


def test_a_replica_is_billed_from_start_to_end(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    (replica,) = world.bring_up(endpoint_id)
    with world.controller.unit_of_work() as session:
        past = func.clock_timestamp() - timedelta(seconds=60)
        session.execute(update(Assignment).where(Assignment.id == replica.assignment_id).values(started_at=past))
    world.end(replica)
    world.tick()
    with world.app.unit_of_work(world.tenant.scope) as session:
        (record,) = session.scalars(select(UsageRecord)).all()
    assert (record.source_kind, record.source_id) == ("replica", replica.id)
    assert (record.resource_kind, record.resource_id, record.resource_name) == ("endpoint", UUID(endpoint_id), "digits")
    assert record.quantity == 10
    assert record.sku == f"instance:{TYPE}:on-demand"


# --- leases ---------------------------------------------------------------------------------------


def claim(world: World, seconds: float = 30.0) -> list[queue.Lease]:
    with world.controller.unit_of_work() as session:
        session.execute(
            update(Endpoint)
            .where(Endpoint.organization_id == world.tenant.organization_id, Endpoint.due_at.is_not(None))
            .values(due_at=func.clock_timestamp())
        )
        mine = Endpoint.organization_id == world.tenant.organization_id
        return queue.claim(session, Endpoint, lease_seconds=seconds, limit=10, where=mine)


def test_two_controllers_make_one_replica(create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: task.control(world.context), range(4)))
    assert len(world.replicas(endpoint_id)) == 1
    with world.app.unit_of_work(world.tenant.scope) as session:
        assert session.scalar(select(func.count()).select_from(Instance)) == 1


def test_a_leased_endpoint_is_claimed_by_nobody_else_until_it_expires(create: Callable[..., str], world: World) -> None:
    create()
    (first,) = claim(world, 30.0)
    assert claim(world) == []
    with world.controller.unit_of_work() as session:
        session.execute(
            update(Endpoint).where(Endpoint.id == first.row_id).values(lease_expires_at=func.clock_timestamp())
        )
    (second,) = claim(world)
    assert second.token != first.token
    assert task.move_one(world.context, first) is False
    assert world.detail(first.row_id).replicas == []
    assert task.move_one(world.context, second) is True
    assert len(world.detail(first.row_id).replicas) == 1


def test_due_endpoints_are_claimed_oldest_first_and_others_not_at_all(create: Callable[..., str], world: World) -> None:
    late, early, never = create(name="late"), create(name="early"), create(name="never")
    with world.controller.unit_of_work() as session:
        now = func.clock_timestamp()
        for endpoint_id, due in ((late, now), (early, now - timedelta(minutes=1)), (never, now + timedelta(hours=1))):
            session.execute(update(Endpoint).where(Endpoint.id == UUID(endpoint_id)).values(due_at=due))
    with world.controller.unit_of_work() as session:
        mine = Endpoint.organization_id == world.tenant.organization_id
        leases = queue.claim(session, Endpoint, lease_seconds=30, limit=10, where=mine)
    assert [str(lease.row_id) for lease in leases] == [early, late]


def test_a_change_during_a_lease_is_not_lost(client: TestClient, create: Callable[..., str], world: World) -> None:
    endpoint_id = create()
    (lease,) = claim(world)
    client.patch(f"{URL}/{endpoint_id}/weights", json={"weights": {"fp32": 1}})
    due = world.detail(endpoint_id).endpoint.due_at
    assert task.move_one(world.context, lease)
    assert world.detail(endpoint_id).endpoint.due_at == due
