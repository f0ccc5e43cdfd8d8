"""What every lease owes, for each kind of row that is its own queue: over two connections, all committed (★2)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from backend.core import queue
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.ids import new_id
from backend.fleet.models import Instance, InstanceType
from backend.jobs.models import Job
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE
from worker.context import ControlContext
from worker.leases import RETRY_AFTER, work_through

pytestmark = pytest.mark.integration

MakeRows = Callable[..., list[UUID]]


def new_job(tenant: Tenant) -> Job:
    return Job(
        id=new_id(),
        organization_id=tenant.organization_id,
        project_id=tenant.project_id,
        kind="sleep",
        name=f"job-{new_id()}",
        parameters={"seconds": 1},
        inputs={},
        instance_type=SHAPE,
        market="on-demand",
        max_attempts=1,
        max_runtime_seconds=60,
        keep_alive_seconds=0,
        status="queued",
        status_reason="",
        created_by="test",
    )


def _instance(tenant: Tenant) -> Instance:
    instance_id = new_id()
    return Instance(
        id=instance_id,
        organization_id=tenant.organization_id,
        project_id=tenant.project_id,
        instance_type=SHAPE,
        market="on-demand",
        provider="test",
        tag=f"test-{instance_id}",
        status="terminated",
        status_reason="",
    )


@pytest.fixture(params=[new_job, _instance], ids=["job", "instance"])
def make(request: pytest.FixtureRequest) -> Callable[[Tenant], Any]:
    builder: Callable[[Tenant], Any] = request.param
    return builder


@pytest.fixture
def model(make: Callable[[Tenant], Any]) -> Any:
    return Job if make is new_job else Instance


@pytest.fixture
def rows(make: Callable[[Tenant], Any], controller_database: Database, tenant: Tenant) -> MakeRows:
    """Rows due so many seconds ago (None = nothing to do), in that order."""

    def insert(*due_seconds_ago: float | None) -> list[UUID]:
        made = [make(tenant) for _ in due_seconds_ago]
        with controller_database.unit_of_work() as session:
            session.merge(
                InstanceType(name=SHAPE, provider="test", vcpus=1, memory_bytes=2**30, gpus=0, description="")
            )
            session.flush()
            now = database_now(session)
            for row, ago in zip(made, due_seconds_ago, strict=True):
                row.due_at = None if ago is None else now - timedelta(seconds=ago)
                session.add(row)
        return [row.id for row in made]

    return insert


@pytest.fixture
def claim(model: Any, tenant: Tenant) -> Callable[..., list[queue.Lease]]:
    def take(session: Session, limit: int = 100, lease_seconds: float = 30) -> list[queue.Lease]:
        mine = model.organization_id == tenant.organization_id
        return queue.claim(session, model, lease_seconds=lease_seconds, limit=limit, where=mine)

    return take


def test_due_rows_are_claimed_oldest_first(
    rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database, tenant: Tenant
) -> None:
    young, old, nothing_to_do, later, middle = rows(1, 300, None, -60, 30)
    with controller_database.unit_of_work() as session:
        first = claim(session, limit=2)
    assert [lease.row_id for lease in first] == [old, middle]
    assert {lease.organization_id for lease in first} == {tenant.organization_id}
    with controller_database.unit_of_work() as session:
        assert [lease.row_id for lease in claim(session)] == [young]
    with controller_database.unit_of_work() as session:
        assert claim(session) == []
    assert {nothing_to_do, later}.isdisjoint({lease.row_id for lease in first})


def test_a_finished_lease_is_given_back_with_its_next_time(
    model: Any, rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database
) -> None:
    (row_id,) = rows(1)
    with controller_database.unit_of_work() as session:
        (lease,) = claim(session)
    with controller_database.unit_of_work() as session:
        row = queue.load_leased(session, model, lease)
        assert row is not None
        again = database_now(session) + timedelta(seconds=60)
        queue.finish(row, lease, due_at=again)
    with controller_database.unit_of_work() as session:
        row = session.get_one(model, row_id)
        assert (row.due_at, row.lease_token, row.lease_expires_at) == (again, None, None)
        assert claim(session) == []


def test_a_stale_token_records_nothing(
    model: Any, rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database
) -> None:
    (row_id,) = rows(1)
    with controller_database.unit_of_work() as session:
        (stale,) = claim(session, lease_seconds=0)
    with controller_database.unit_of_work() as session:
        (fresh,) = claim(session)
    with controller_database.unit_of_work() as session:
        assert queue.load_leased(session, model, stale) is None
        assert not queue.release(session, model, stale, due_at=database_now(session) + timedelta(days=1))
    with controller_database.unit_of_work() as session:
        row = session.get_one(model, row_id)
        assert (row.lease_token, row.due_at) == (fresh.token, fresh.due_at)


def test_an_expired_lease_hands_over_and_records_nothing(
    model: Any, rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database
) -> None:
    (row_id,) = rows(1)
    with controller_database.unit_of_work() as session:
        (first,) = claim(session)
    with controller_database.unit_of_work() as session:
        past = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(update(model).where(model.id == row_id).values(lease_expires_at=past))
    with controller_database.unit_of_work() as session:
        assert queue.load_leased(session, model, first) is None, "its time is over even before another takes it"
    with controller_database.unit_of_work() as session:
        (second,) = claim(session)
    assert second.row_id == row_id
    assert second.token != first.token


def test_a_renewed_lease_has_its_full_time_again(
    model: Any, rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database
) -> None:
    rows(1)
    with controller_database.unit_of_work() as session:
        (lease,) = claim(session, lease_seconds=2)
    with controller_database.unit_of_work() as session:
        row = queue.load_leased(session, model, lease)
        assert row is not None
        queue.renew(row, lease_seconds=30)
    with controller_database.unit_of_work() as session:
        row = session.get_one(model, lease.row_id)
        assert row.lease_expires_at - database_now(session) > timedelta(seconds=25)
        assert row.lease_token == lease.token


def test_two_controllers_claim_disjoint_rows(
    rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database
) -> None:
    ids = rows(*range(1, 11))
    with controller_database.unit_of_work() as one, controller_database.unit_of_work() as other:
        first = claim(one, limit=6)
        second = claim(other, limit=6)
    assert len(first) == 6
    assert len(second) == 4, "rows that another transaction holds are skipped, not waited for"
    claimed = [lease.row_id for lease in first + second]
    assert sorted(claimed) == sorted(ids)
    assert len({lease.token for lease in first + second}) == 10


@pytest.mark.parametrize("how", ["finish", "release"])
def test_an_intent_that_comes_while_the_lease_is_held_keeps_the_row_due(
    *, model: Any, rows: MakeRows, claim: Callable[..., list[queue.Lease]], controller_database: Database, how: str
) -> None:
    (row_id,) = rows(60)
    with controller_database.unit_of_work() as session:
        (lease,) = claim(session)
    with controller_database.unit_of_work() as session:
        queue.make_due(session, model, [row_id])
    with controller_database.unit_of_work() as session:
        assert claim(session) == [], "the lease stays with its holder"
    with controller_database.unit_of_work() as session:
        far = database_now(session) + timedelta(days=1)
        if how == "finish":
            row = queue.load_leased(session, model, lease)
            queue.finish(row, lease, due_at=None)
        else:
            assert queue.release(session, model, lease, due_at=far)
    with controller_database.unit_of_work() as session:
        assert [each.row_id for each in claim(session)] == [row_id]


def test_a_step_that_raises_stops_no_other_and_is_tried_again_soon(
    model: Any, rows: MakeRows, claim: Callable[..., list[queue.Lease]], context: ControlContext
) -> None:
    bad, good = rows(60, 30)
    seen: list[UUID] = []

    def act(_: ControlContext, lease: queue.Lease) -> None:
        seen.append(lease.row_id)
        if lease.row_id == bad:
            raise ZeroDivisionError

    with context.database.unit_of_work() as session:
        leases = claim(session)
    assert work_through(context, model, leases, act) == 2
    assert seen == [bad, good]
    with context.database.unit_of_work() as session:
        row = session.get_one(model, bad)
        assert row.lease_token is None
        assert timedelta(0) < row.due_at - database_now(session) <= RETRY_AFTER
