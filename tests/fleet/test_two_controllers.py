"""Two control workers at once over the same jobs and instances: no deadlock, no double work, one bill."""

import threading
from collections.abc import Callable
from typing import Any, Self

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core import queue, wire
from backend.fleet.models import Assignment, Instance
from backend.jobs.models import Job
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from worker.context import ControlContext
from worker.tasks.fleet import step
from worker.tasks.jobs import move_one

pytestmark = pytest.mark.integration

FILE = wire.FileRef(name="state.json", sha256="a" * 64, size_bytes=3)
JOBS = 12


class Controllers:
    """Threads that claim and move one tenant's rows without a pause; what a step raises is kept, not swallowed."""

    def __init__(self, context: ControlContext, tenant: Tenant, count: int) -> None:
        self.errors: list[BaseException] = []
        self._context = context
        self._tenant = tenant
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        steps: list[tuple[Any, Callable[[ControlContext, queue.Lease], object]]] = [(Job, move_one), (Instance, step)]
        try:
            while not self._stop.is_set():
                for model, act in steps:
                    self._once(model, act)
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.errors.append(error)

    def _once(self, model: Any, act: Callable[[ControlContext, queue.Lease], object]) -> None:
        mine = model.organization_id == self._tenant.organization_id
        with self._context.database.unit_of_work() as session:
            leases = queue.claim(session, model, lease_seconds=30, limit=4, where=mine)
        for lease in leases:
            act(self._context, lease)
        with self._context.database.unit_of_work() as session:
            rows = select(model.id).where(mine, model.due_at.is_not(None)).with_for_update(skip_locked=True)
            soon = {"due_at": func.clock_timestamp()}
            session.execute(update(model).where(model.id.in_(rows.scalar_subquery())).values(**soon))


def work(hand: Hand, done: set[str]) -> None:
    """What the instance's agent does in one round: start what is new, end what runs."""
    for assignment in hand.sync().assignments:
        if assignment.id not in done:
            done.add(assignment.id)
            hand.sync(wire.Started(pid=1), assignment=assignment)
            hand.sync(
                wire.ResultSaved(files=[FILE], summary={}),
                wire.Ended(outcome="completed"),
                assignment=assignment,
                elapsed=0.001,
            )


def test_two_controllers_share_the_work(
    *,
    context: ControlContext,
    tenant: Tenant,
    client: TestClient,
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
) -> None:
    hands = [ready_instance(tenant) for _ in range(3)]
    for number in range(JOBS):
        submit(tenant, f"nap-{number}", keep_alive_seconds=600)
    done: set[str] = set()
    with Controllers(context, tenant, 2) as controllers:
        for _ in range(400):
            for hand in hands:
                work(hand, done)
            jobs = client.get("/api/v1/jobs", params={"limit": 50}).json()["items"]
            if controllers.errors or all(job["status"] == "completed" for job in jobs):
                break
    assert controllers.errors == []
    assert [job["status"] for job in jobs] == ["completed"] * JOBS
    assert {job["attempt_count"] for job in jobs} == {1}
    with context.database.unit_of_work() as session:
        mine = Assignment.organization_id == tenant.organization_id
        assignments = session.scalars(select(Assignment).where(mine)).all()
        usage = session.scalars(select(UsageRecord).where(UsageRecord.organization_id == tenant.organization_id)).all()
    assert len(assignments) == JOBS
    assert all(each.ended_at is not None for each in assignments)
    assert len([record for record in usage if record.source_kind == "attempt"]) <= JOBS
