"""Every billed second belongs to one attempt, replica or hold, and no second is billed twice (★8)."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core import wire
from backend.core.db import act_as
from backend.fleet import service
from backend.fleet.metering import FIRST_SLICE_SECONDS
from backend.fleet.models import Assignment, Hold
from backend.fleet.repository import FleetRepository
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.fleet.conftest import SHAPE, Fleet

pytestmark = pytest.mark.integration

FILE = wire.FileRef(name="state.json", sha256="a" * 64, size_bytes=3)


@pytest.fixture
def start(
    machines: Fleet, submit: Callable[..., dict[str, Any]], run_jobs: Callable[..., None]
) -> Callable[..., tuple[dict[str, Any], wire.Assignment]]:
    """Start a job on a ready instance."""

    def begin(hand: Hand, name: str = "nap", **fields: Any) -> tuple[dict[str, Any], wire.Assignment]:
        job = submit(machines.tenant, name, instance_type=SHAPE, **fields)
        run_jobs(machines.tenant)
        (assignment,) = hand.sync().assignments
        hand.sync(wire.Started(pid=1), assignment=assignment)
        run_jobs(machines.tenant)
        return job, assignment

    return begin


def hold_of(machines: Fleet, instance_id: UUID) -> Hold | None:
    with machines.context.database.unit_of_work() as session:
        act_as(session, machines.tenant.organization_id)
        return FleetRepository(session, machines.tenant.scope).open_hold(instance_id)


def complete(hand: Hand, assignment: wire.Assignment, elapsed: float) -> None:
    hand.sync(
        wire.ResultSaved(files=[FILE], summary={}),
        wire.Ended(outcome="completed"),
        assignment=assignment,
        elapsed=elapsed,
    )


def assert_contiguous(records: list[UsageRecord]) -> None:
    for before, after in itertools.pairwise(records):
        assert before.to_at == after.from_at


def seconds(records: list[UsageRecord]) -> Decimal:
    return sum((record.quantity for record in records), Decimal(0))


def test_a_first_slice_comes_early_then_one_a_minute_and_one_at_the_end(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, assignment = start(hand)
    row = machines.assignment(assignment.id)
    machines.rewind(row, started_at=200)
    for elapsed, slices in ((FIRST_SLICE_SECONDS - 0.1, 0), (20.25, 1), (80.0, 1), (81.5, 2)):
        hand.sync(assignment=assignment, elapsed=elapsed)
        assert machines.look(hand.instance_id) == "ready"
        written = [record.quantity for record in machines.usage("attempt")]
        assert len(written) == slices, (elapsed, written)
    complete(hand, assignment, 90.5)
    run_jobs(machines.tenant)
    records = machines.usage()
    assert [record.quantity for record in records] == [Decimal("20.25"), Decimal("61.25"), Decimal(9)]
    assert_contiguous(records)
    assert records[0].from_at == machines.assignment(assignment.id).started_at
    assert {record.sku for record in records} == {f"instance:{SHAPE}:on-demand"}


@pytest.mark.parametrize("said", [9_999.0, 1e300])
def test_nothing_is_billed_beyond_now(machines: Fleet, start: Callable[..., Any], said: float) -> None:
    hand = machines.ready()
    _, assignment = start(hand)
    machines.rewind(machines.assignment(assignment.id), started_at=100)
    hand.sync(assignment=assignment, elapsed=said)
    assert machines.look(hand.instance_id) == "ready"
    (record,) = machines.usage()
    assert 100 <= record.quantity < 130
    assert machines.look(hand.instance_id) == "ready"
    assert len(machines.usage()) == 1


def test_who_says_too_much_is_billed_up_to_the_moment_of_the_end_exactly(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, assignment = start(hand)
    machines.rewind(machines.assignment(assignment.id), started_at=100)
    complete(hand, assignment, 9_999.0)
    run_jobs(machines.tenant)
    row = machines.assignment(assignment.id)
    assert row.started_at is not None
    assert row.ended_at is not None
    passed = (row.ended_at - row.started_at) // timedelta(milliseconds=1)
    assert seconds(machines.usage()) == Decimal(passed) / 1000


def test_a_hold_is_billed_and_taken_over_by_the_next_job(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, first = start(hand, keep_alive_seconds=300)
    machines.rewind(machines.assignment(first.id), started_at=40)
    complete(hand, first, 20.0)
    run_jobs(machines.tenant)
    assert machines.look(hand.instance_id) == "ready"
    hold = hold_of(machines, hand.instance_id)
    assert hold is not None
    assert machines.usage("hold") == []
    machines.rewind(hold, started_at=70)
    hand.sync()
    assert machines.look(hand.instance_id) == "ready"
    (record,) = machines.usage("hold")
    assert 70 <= record.quantity < 80
    assert (record.resource_kind, record.resource_name) == ("instance", f"{SHAPE} (warm pool)")
    _, second = start(hand, "next")
    assert machines.assignment(second.id).instance_id == hand.instance_id
    assert hold_of(machines, hand.instance_id) is None
    held = machines.usage("hold")
    assert_contiguous(held)
    started = machines.assignment(second.id).started_at
    assert started is not None
    assert held[-1].to_at <= started


def test_a_hold_ends_after_its_time_and_is_not_billed_beyond_it(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, assignment = start(hand, keep_alive_seconds=60)
    complete(hand, assignment, 0.01)
    run_jobs(machines.tenant)
    hold = hold_of(machines, hand.instance_id)
    assert hold is not None
    machines.rewind(hold, started_at=500, until_at=400)
    machines.rewind(machines.assignment(assignment.id), ended_at=500)
    hand.sync()
    assert machines.look(hand.instance_id) == "terminating"
    assert seconds(machines.usage("hold")) == 100
    assert hold_of(machines, hand.instance_id) is None


def test_the_hold_of_a_lost_instance_ends_with_its_last_words(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, assignment = start(hand, keep_alive_seconds=3000)
    complete(hand, assignment, 0.01)
    run_jobs(machines.tenant)
    hold = hold_of(machines, hand.instance_id)
    assert hold is not None
    machines.rewind(hold, started_at=130)
    machines.silence(hand.instance_id, 30)
    assert machines.look(hand.instance_id) == "terminating"
    assert hold_of(machines, hand.instance_id) is None
    assert 99 < seconds(machines.usage("hold")) <= Decimal("100.5")


def test_no_hold_is_begun_on_an_instance_that_is_going(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, assignment = start(hand, keep_alive_seconds=3000)
    complete(hand, assignment, 0.01)
    machines.silence(hand.instance_id, 30)
    assert machines.look(hand.instance_id) == "terminating"
    run_jobs(machines.tenant)
    assert hold_of(machines, hand.instance_id) is None


def test_what_is_billed_never_exceeds_the_life_of_the_machine(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    for number in range(3):
        _, assignment = start(hand, f"nap-{number}", keep_alive_seconds=60)
        complete(hand, assignment, 1000.0)
        run_jobs(machines.tenant)
        assert machines.look(hand.instance_id) == "ready"
    with machines.context.database.unit_of_work() as session:
        act_as(session, machines.tenant.organization_id)
        service.request_drain(session, machines.tenant.scope, hand.instance_id)
    assert machines.look(hand.instance_id) == "terminating"
    machines.end(hand.instance_id)
    row = machines.row(hand.instance_id)
    machine = machines.host.provider.describe(row.tag)
    assert machine.launched_at is not None
    assert machine.terminated_at is not None
    records = machines.usage()
    assert {record.source_kind for record in records} == {"attempt", "hold"}
    for before, after in itertools.pairwise(records):
        assert before.to_at <= after.from_at
    assert machine.launched_at <= records[0].from_at
    assert records[-1].to_at <= machine.terminated_at
    assert 0 < seconds(records) <= Decimal((machine.terminated_at - machine.launched_at).total_seconds())


def test_a_killed_machine_ends_the_attempt_and_the_job_goes_on_elsewhere(
    *,
    machines: Fleet,
    start: Callable[..., Any],
    run_jobs: Callable[..., None],
    client: TestClient,
    tenant: Tenant,
) -> None:
    hand = machines.ready()
    job, assignment = start(hand)
    machines.rewind(machines.assignment(assignment.id), started_at=50)
    hand.sync(wire.CheckpointSaved(step=3, files=[FILE]), assignment=assignment, elapsed=12.5)
    machines.host.provider.terminate(machines.row(hand.instance_id).tag)
    assert machines.look(hand.instance_id) == "terminating"
    run_jobs(tenant)
    machines.end(hand.instance_id)
    assert [record.quantity for record in machines.usage()] == [Decimal("12.5")]
    run_jobs(tenant)
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "provisioning"
    with machines.context.database.unit_of_work() as session:
        act_as(session, tenant.organization_id)
        asked = service.requested_instance(session, tenant.scope, UUID(job["id"]))
    assert asked is not None
    assert machines.look(asked.id) == "provisioning"
    other = machines.hello(asked.id)
    assert machines.look(asked.id) == "ready"
    run_jobs(tenant)
    (again,) = other.sync().assignments
    assert again.attempt is not None
    assert (again.attempt.attempt_number, again.attempt.checkpoint) == (2, wire.CheckpointRef(step=3, files=[FILE]))


def test_two_agents_with_one_token_are_billed_once(
    machines: Fleet, start: Callable[..., Any], run_jobs: Callable[..., None]
) -> None:
    hand = machines.ready()
    _, assignment = start(hand)
    twin = Hand(hand.client, hand.instance_id)
    machines.rewind(machines.assignment(assignment.id), started_at=90)
    twin.sync(wire.Started(pid=2), wire.Started(pid=3), assignment=assignment, elapsed=1.0)
    hand.sync(assignment=assignment, elapsed=70.0)
    twin.sync(assignment=assignment, elapsed=30.0)
    run_jobs(machines.tenant)
    assert machines.look(hand.instance_id) == "ready"
    twin.sync(wire.Ended(outcome="completed"), wire.Ended(outcome="completed"), assignment=assignment, elapsed=80.0)
    complete(hand, assignment, 80.0)
    run_jobs(machines.tenant)
    records = machines.usage()
    assert_contiguous(records)
    assert seconds(records) == 80
    with machines.context.database.unit_of_work() as session:
        assert session.get_one(Assignment, UUID(assignment.id)).ended_at is not None
