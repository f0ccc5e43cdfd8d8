"""The look at many instances: passed over is only one that works, speaks, owes no slice and whose machine runs."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Update, func, update

from backend.core import wire
from backend.core.clock import database_now
from backend.fleet.models import Assignment, AssignmentHeartbeat, Instance, InstanceHeartbeat
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand, api_has_been_up
from worker.context import ControlContext
from worker.undisturbed import postpone_undisturbed

pytestmark = pytest.mark.integration

AGO = timedelta(seconds=60)


def look(context: ControlContext, instance_id: UUID, *, machine_runs: bool = True) -> datetime:
    """Make the instance due before all others, look once; when it is due then."""
    with context.database.unit_of_work() as session:
        first = {"due_at": func.clock_timestamp() - timedelta(days=30), "lease_token": None}
        session.execute(update(Instance).where(Instance.id == instance_id).values(**first))
        tag = session.get_one(Instance, instance_id).tag
    postpone_undisturbed(context, {"test": frozenset({tag} if machine_runs else ())}, seconds=5)
    with context.database.unit_of_work() as session:
        due_at = session.get_one(Instance, instance_id).due_at
    assert due_at is not None
    return due_at


def was_passed_over(context: ControlContext, due_at: datetime) -> bool:
    with context.database.unit_of_work() as session:
        return due_at > database_now(session) - timedelta(days=1)


@pytest.fixture
def working(
    context: ControlContext,
    tenant: Tenant,
    submit: Callable[..., dict[str, Any]],
    run_jobs: Callable[..., None],
    ready_instance: Callable[..., Hand],
) -> tuple[Hand, wire.Assignment]:
    """An instance whose agent runs an attempt and speaks."""
    with context.database.unit_of_work() as session:
        api_has_been_up(session)
    hand = ready_instance(tenant)
    submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    run_jobs(tenant)
    hand.sync(assignment=assignment, elapsed=1)
    return hand, assignment


def _silent(hand: Hand, _: wire.Assignment) -> Update:
    mine = InstanceHeartbeat.instance_id == hand.instance_id
    return update(InstanceHeartbeat).where(mine).values(received_at=func.clock_timestamp() - AGO)


def _drained(hand: Hand, _: wire.Assignment) -> Update:
    mine = Instance.id == hand.instance_id
    return update(Instance).where(mine).values(drain_requested_at=func.clock_timestamp())


def _without_work(_: Hand, assignment: wire.Assignment) -> Update:
    mine = Assignment.id == UUID(assignment.id)
    return update(Assignment).where(mine).values(ended_at=func.clock_timestamp())


def _owing(_: Hand, assignment: wire.Assignment) -> Update:
    mine = AssignmentHeartbeat.assignment_id == UUID(assignment.id)
    return update(AssignmentHeartbeat).where(mine).values(elapsed_seconds=11.0)


@pytest.mark.parametrize("disturb", [None, _silent, _drained, _without_work, _owing])
def test_an_instance_is_passed_over_only_while_nothing_happens(
    context: ControlContext,
    working: tuple[Hand, wire.Assignment],
    disturb: Callable[[Hand, wire.Assignment], Update] | None,
) -> None:
    hand, assignment = working
    if disturb is not None:
        with context.database.unit_of_work() as session:
            session.execute(disturb(hand, assignment))
    assert was_passed_over(context, look(context, hand.instance_id)) is (disturb is None)


def test_one_whose_machine_does_not_run_gets_its_own_look(
    context: ControlContext, working: tuple[Hand, wire.Assignment]
) -> None:
    hand, _ = working
    assert not was_passed_over(context, look(context, hand.instance_id, machine_runs=False))
