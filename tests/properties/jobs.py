"""One job: whatever order reports, losses, intents and controllers come in, what always holds of it and its bill."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core import queue, wire
from backend.core.db import act_as
from backend.core.lifecycle import Event, Transitions
from backend.fleet import service as fleet
from backend.fleet import states as fleet_states
from backend.fleet.models import Assignment, AssignmentHeartbeat, Hold, Instance, InstanceHeartbeat
from backend.jobs import states
from backend.jobs.models import Attempt, Job
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from worker.context import ControlContext
from worker.tasks.fleet import step as instance_step
from worker.tasks.jobs import move_one

FILE = wire.FileRef(name="state.json", sha256="a" * 64, size_bytes=3)
HEADROOM = timedelta(seconds=100_000)
"""Each accepted start is set so far back: the agent may then say any number of seconds below it."""
LEGAL: dict[Any, Transitions] = {Job: states.JOB, Attempt: states.ATTEMPT, Instance: fleet_states.TRANSITIONS}
CLASSES = ("user_code", "out_of_memory", "capacity", "interruption", "timeout", "platform")


@dataclass(frozen=True)
class World:
    """The fixtures a machine plays with."""

    context: ControlContext
    make_tenant: Callable[[], Tenant]
    submit: Callable[..., dict[str, Any]]
    ready_instance: Callable[..., Hand]
    make_client: Callable[..., TestClient]


class JobMachine(RuleBasedStateMachine):
    """One job of one tenant, moved in any order by its user, its agents and its controllers."""

    world: World

    @initialize(keep=st.sampled_from([600, 0]), attempts=st.sampled_from([3, 2, 1]), run=st.sampled_from([True, False]))
    def submitted(self, keep: int, attempts: int, run: bool) -> None:  # noqa: FBT001 - drawn
        self.tenant = self.world.make_tenant()
        self.hand: Hand | None = None
        self.elapsed: dict[str, float] = {}
        self.final: str | None = None
        self.ended: wire.Assignment | None = None
        self.assignment: wire.Assignment | None = None
        self._new_instance()
        job = self.world.submit(self.tenant, keep_alive_seconds=keep, max_attempts=attempts)
        self.job_id = UUID(job["id"])
        if run:
            self.controller_looks_at_the_job()
            self._sync(wire.Started(pid=1), passed=0.0, look=True)

    def _new_instance(self) -> None:
        self.hand = self.world.ready_instance(self.tenant)

    @rule()
    def controller_looks_at_the_job(self) -> None:
        with self.world.context.database.unit_of_work() as session:
            due = {"due_at": func.clock_timestamp(), "lease_token": None}
            session.execute(update(Job).where(Job.id == self.job_id, Job.due_at.is_not(None)).values(**due))
        with self.world.context.database.unit_of_work() as session:
            leases = queue.claim(session, Job, lease_seconds=30, limit=1, where=Job.id == self.job_id)
        for lease in leases:
            assert move_one(self.world.context, lease)
        with self.world.context.database.unit_of_work() as session:
            session.execute(
                update(Assignment)
                .where(
                    Assignment.organization_id == self.tenant.organization_id,
                    Assignment.billed_until.is_(None),
                    Assignment.started_at > func.clock_timestamp() - HEADROOM / 2,
                )
                .values(started_at=Assignment.started_at - HEADROOM)
            )

    @rule(then_said=st.booleans())
    def a_controller_loses_its_lease(self, then_said: bool) -> None:  # noqa: FBT001 - drawn
        """It claimed the job and was slow; another took over, and what the first found out is dropped."""
        with self.world.context.database.unit_of_work() as session:
            due = {"due_at": func.clock_timestamp(), "lease_token": None}
            session.execute(update(Job).where(Job.id == self.job_id, Job.due_at.is_not(None)).values(**due))
        slow = self._claim(lease_seconds=0)
        if then_said:
            self._sync(wire.Progress(step=1, total_steps=9, phase="x"), passed=0.0, look=False)
        for lease in self._claim(lease_seconds=30):
            assert move_one(self.world.context, lease)
        before = self._statuses()
        assert not any(move_one(self.world.context, lease) for lease in slow)
        assert self._statuses() == before

    def _claim(self, *, lease_seconds: float) -> list[queue.Lease]:
        with self.world.context.database.unit_of_work() as session:
            return queue.claim(session, Job, lease_seconds=lease_seconds, limit=1, where=Job.id == self.job_id)

    def _statuses(self) -> list[str]:
        with self.world.context.database.unit_of_work() as session:
            mine = Event.organization_id == self.tenant.organization_id
            return list(session.scalars(select(Event.to_status).where(mine).order_by(Event.at, Event.id)))

    @rule()
    def controller_looks_at_the_instance(self) -> None:
        assert self.hand is not None
        mine = Instance.id == self.hand.instance_id
        with self.world.context.database.unit_of_work() as session:
            session.execute(update(Instance).where(mine).values(due_at=func.clock_timestamp(), lease_token=None))
        with self.world.context.database.unit_of_work() as session:
            (lease,) = queue.claim(session, Instance, lease_seconds=30, limit=1, where=mine)
        instance_step(self.world.context, lease)
        with self.world.context.database.unit_of_work() as session:
            gone = session.get_one(Instance, self.hand.instance_id).status == "terminating"
        if gone:
            self._new_instance()

    @rule(passed=st.floats(0, 150), look=st.booleans())
    def the_agent_beats(self, passed: float, look: bool) -> None:  # noqa: FBT001 - drawn
        self._sync(passed=passed, look=look)
        self.controller_looks_at_the_instance()

    @rule(passed=st.floats(0, 10), look=st.booleans())
    def the_agent_says_it_started(self, passed: float, look: bool) -> None:  # noqa: FBT001 - drawn
        self._sync(wire.Started(pid=1), passed=passed, look=look)

    @rule(step=st.integers(0, 9), passed=st.floats(0, 90), look=st.booleans())
    def the_agent_says_more(self, step: int, passed: float, look: bool) -> None:  # noqa: FBT001 - drawn
        self._sync(
            wire.Progress(step=step, total_steps=9, phase="x"),
            wire.CheckpointSaved(step=step, files=[FILE]),
            passed=passed,
            look=look,
        )

    @rule(
        outcome=st.sampled_from(["completed", "stopped", "failed"]),
        failure_class=st.sampled_from([None, *CLASSES]),
        result=st.booleans(),
        passed=st.floats(0, 200),
        look=st.booleans(),
    )
    def the_agent_says_it_ended(
        self, *, outcome: Any, failure_class: Any, result: bool, passed: float, look: bool
    ) -> None:
        failure = wire.Failure(failure_class=failure_class, reason="so") if failure_class else None
        first = [wire.ResultSaved(files=[FILE], summary={})] if result else []
        self._sync(*first, wire.Ended(outcome=outcome, failure=failure), passed=passed, look=look)

    def _sync(self, *bodies: Any, passed: float, look: bool) -> None:
        assert self.hand is not None
        wanted = self.hand.sync().assignments
        if self.assignment is not None and self.assignment.id not in {each.id for each in wanted}:
            self.ended = self.assignment
        self.assignment = wanted[0] if wanted else None
        if self.assignment is None:
            return
        seconds = self.elapsed.get(self.assignment.id, 0.0) + passed
        self.elapsed[self.assignment.id] = seconds
        self.hand.sync(*bodies, assignment=self.assignment, elapsed=seconds)
        if look:
            self.controller_looks_at_the_job()

    @rule()
    @precondition(lambda self: self.ended is not None)
    def an_agent_speaks_of_what_is_over(self) -> None:
        assert self.hand is not None
        assert self.ended is not None
        reply = self.hand.sync(wire.Ended(outcome="completed"), assignment=self.ended, elapsed=99_999)
        assert self.ended.id in reply.stale

    @rule()
    def the_agent_falls_silent(self) -> None:
        past = func.clock_timestamp() - timedelta(seconds=60)
        with self.world.context.database.unit_of_work() as session:
            for model in (InstanceHeartbeat, AssignmentHeartbeat):
                mine = model.organization_id == self.tenant.organization_id
                session.execute(update(model).where(mine).values(received_at=past))

    @rule()
    def the_instance_is_drained(self) -> None:
        assert self.hand is not None
        with self.world.context.database.unit_of_work() as session:
            act_as(session, self.tenant.organization_id)
            fleet.request_drain(session, self.tenant.scope, self.hand.instance_id)

    @rule(really=st.sampled_from([False, False, True]))
    def a_user_asks_to_stop(self, really: bool) -> None:  # noqa: FBT001 - drawn
        if not really:
            return
        answer = self.world.make_client(self.tenant).post(f"/api/v1/jobs/{self.job_id}/stop")
        assert answer.status_code in ({409} if self.final else {202, 409})

    @invariant()
    def every_move_was_legal_and_left_its_event(self) -> None:
        with self.world.context.database.unit_of_work() as session:
            mine = Event.organization_id == self.tenant.organization_id
            events = session.scalars(select(Event).where(mine).order_by(Event.at, Event.id)).all()
            rows = {(row.__tablename__, row.id): row for model in LEGAL for row in self._mine(session, model)}
        legal = {model.__tablename__: table for model, table in LEGAL.items()}
        for (table, row_id), row in rows.items():
            steps = [event for event in events if event.resource_id == row_id]
            assert steps[-1].to_status == row.status
            assert steps[0].from_status is None or table == "instances", "an instance of the test was born ready"
            for before, after in itertools.pairwise(steps):
                assert after.from_status == before.to_status
                assert after.to_status in legal[table][before.to_status]

    def _mine(self, session: Session, model: Any) -> list[Any]:
        rows = session.scalars(select(model).where(model.organization_id == self.tenant.organization_id)).all()
        # The test made its instances without an event: those that have not moved have none.
        return [row for row in rows if model is not Instance or row.status in ("terminating", "terminated")]

    @invariant()
    def an_instance_does_one_thing_at_a_time(self) -> None:
        with self.world.context.database.unit_of_work() as session:
            mine = Assignment.organization_id == self.tenant.organization_id
            open_now = session.scalars(select(Assignment.instance_id).where(mine, Assignment.ended_at.is_(None))).all()
            held = session.scalars(
                select(Hold.instance_id).where(
                    Hold.organization_id == self.tenant.organization_id, Hold.ended_at.is_(None)
                )
            ).all()
        assert len(set(open_now)) == len(open_now)
        assert len(set(held)) == len(held)
        assert not set(open_now) & set(held), "what works is not held as well: it would be billed twice"

    @invariant()
    def final_states_never_change(self) -> None:
        with self.world.context.database.unit_of_work() as session:
            job = session.get_one(Job, self.job_id)
        if self.final is not None:
            assert job.status == self.final
        if job.status in states.FINAL:
            self.final = job.status
        assert (job.status in states.FINAL) == (job.due_at is None) == (job.ended_at is not None)
        assert (job.status == "failed") == (job.failure is not None)

    @invariant()
    def at_most_one_attempt_is_open(self) -> None:
        with self.world.context.database.unit_of_work() as session:
            job = session.get_one(Job, self.job_id)
            attempts = session.scalars(select(Attempt).where(Attempt.job_id == self.job_id)).all()
            subjects = {
                row.subject_id
                for row in session.scalars(
                    select(Assignment).where(
                        Assignment.organization_id == self.tenant.organization_id, Assignment.ended_at.is_(None)
                    )
                )
            }
        unfinished = [attempt for attempt in attempts if attempt.ended_at is None]
        assert len(unfinished) == (job.status in ("starting", "running", "stopping"))
        assert {attempt.id for attempt in unfinished} == subjects
        assert [attempt.number for attempt in sorted(attempts, key=lambda each: each.number)] == list(
            range(1, job.attempt_count + 1)
        )
        assert job.attempt_count <= job.max_attempts

    @invariant()
    def the_bill_is_contiguous_and_no_longer_than_what_ran(self) -> None:
        with self.world.context.database.unit_of_work() as session:
            mine = UsageRecord.organization_id == self.tenant.organization_id
            records = session.scalars(select(UsageRecord).where(mine).order_by(UsageRecord.from_at)).all()
            holds = session.scalars(select(Hold).where(Hold.organization_id == self.tenant.organization_id)).all()
        by_source: dict[tuple[str, UUID], list[UsageRecord]] = {}
        for record in records:
            assert record.quantity == Decimal((record.to_at - record.from_at) // timedelta(milliseconds=1)) / 1000 > 0
            by_source.setdefault((record.source_kind, record.source_id), []).append(record)
        for (kind, _), slices in by_source.items():
            assert all(before.to_at == after.from_at for before, after in itertools.pairwise(slices))
            if kind == "attempt":
                said = self.elapsed[str(slices[0].detail["assignment_id"])]
                assert sum(each.quantity for each in slices) <= Decimal(said)
        assert sum(hold.ended_at is None for hold in holds) <= 1
