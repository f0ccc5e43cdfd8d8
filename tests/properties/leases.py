"""Several controllers and a few rows: who may record what, and that no row starves.

Postgres's clock is the only one, so time passes by moving rows into the past: what is due was due `n` seconds ago,
and a lease that expires had expired before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, update

from backend.core import queue
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.queue import Lease
from backend.jobs.models import Job
from tests.fixtures.database import Tenant
from tests.jobs.test_leases import new_job

LONG_AGO = timedelta(days=300)
OTHERS = st.integers(0, 99)


@dataclass
class Row:
    """What the model knows of a row. `due`: its place in the line, None = nothing to do."""

    due: int | None
    owner: Lease | None = None
    rung: bool = False


class LeaseMachine(RuleBasedStateMachine):
    """Rows that are their own queue."""

    database: Database
    make_tenant: Callable[[], Tenant]

    def __init__(self) -> None:
        super().__init__()
        self.tenant = self.make_tenant()
        self.rows: dict[UUID, Row] = {}
        self.ever: list[Lease] = []
        self.line = 0

    @initialize(due=st.lists(st.booleans(), min_size=1, max_size=6))
    def made(self, due: list[bool]) -> None:
        with self.database.unit_of_work() as session:
            for is_due in due:
                job = new_job(self.tenant)
                session.add(job)
                self.rows[job.id] = Row(None)
                session.flush()
                if is_due:
                    self._due(job.id)
        self._write_due_times()

    def _due(self, row_id: UUID) -> None:
        self.line += 1
        self.rows[row_id].due = self.line

    def _write_due_times(self) -> None:
        """The model's order, as times long gone."""
        with self.database.unit_of_work() as session:
            start = database_now(session) - LONG_AGO
            for row_id, row in self.rows.items():
                if row.due is not None:
                    at = start + timedelta(seconds=row.due)
                    session.execute(update(Job).where(Job.id == row_id, Job.due_at.is_(None)).values(due_at=at))

    @rule(limit=st.integers(1, 4))
    def a_controller_claims(self, limit: int) -> None:
        with self.database.unit_of_work() as session:
            mine = Job.organization_id == self.tenant.organization_id
            leases = queue.claim(session, Job, lease_seconds=1000, limit=limit, where=mine)
        free = [row_id for row_id, row in self.rows.items() if row.due is not None and row.owner is None]
        waiting = sorted(free, key=lambda row_id: self.rows[row_id].due or 0)
        assert [lease.row_id for lease in leases] == waiting[:limit], "the oldest first, and none that is owned"
        for lease in leases:
            row = self.rows[lease.row_id]
            row.owner, row.rung = lease, False
        self.ever += leases

    @rule(which=OTHERS)
    @precondition(lambda self: self.ever)
    def a_lease_expires(self, which: int) -> None:
        lease = self.ever[which % len(self.ever)]
        past = func.clock_timestamp() - timedelta(seconds=1)
        with self.database.unit_of_work() as session:
            held = (Job.id == lease.row_id, Job.lease_token == lease.token)
            session.execute(update(Job).where(*held).values(lease_expires_at=past))
        if self.rows[lease.row_id].owner == lease:
            self.rows[lease.row_id].owner = None

    @rule(which=OTHERS)
    @precondition(lambda self: self.ever)
    def somebody_renews(self, which: int) -> None:
        lease = self.ever[which % len(self.ever)]
        with self.database.unit_of_work() as session:
            row = queue.load_leased(session, Job, lease)
            assert (row is not None) == self._owns(lease)
            if row is not None:
                queue.renew(row, lease_seconds=1000)

    @rule(which=OTHERS, again=st.booleans(), loaded=st.booleans())
    @precondition(lambda self: self.ever)
    def somebody_records(self, which: int, again: bool, loaded: bool) -> None:  # noqa: FBT001 - drawn
        """The owner gives the row back, to be looked at again or not; whoever does not own it records nothing."""
        lease = self.ever[which % len(self.ever)]
        owned = self._owns(lease)
        model = self.rows[lease.row_id]
        with self.database.unit_of_work() as session:
            at = database_now(session) - LONG_AGO + timedelta(seconds=self.line + 1) if again else None
            if loaded or at is None:
                row = queue.load_leased(session, Job, lease)
                assert (row is not None) == owned
                if row is not None:
                    queue.finish(row, lease, due_at=at)
            else:
                # Without a look at the expiry: a token that nobody has replaced may still be given back.
                unclaimed = model.owner is None and session.get_one(Job, lease.row_id).lease_token == lease.token
                assert queue.release(session, Job, lease, due_at=at) == (owned or unclaimed)
                owned = owned or unclaimed
        if owned:
            model.owner = None
            if not model.rung:
                model.due = None
                if again:
                    self._due(lease.row_id)

    @rule(which=OTHERS)
    def a_bell_rings(self, which: int) -> None:
        """An intent or a report: due now, whoever holds it. Now is after all that was due long ago."""
        row_id = list(self.rows)[which % len(self.rows)]
        with self.database.unit_of_work() as session:
            queue.make_due(session, Job, [row_id])
            at = database_now(session) - LONG_AGO + timedelta(seconds=self.line + 1)
            session.execute(update(Job).where(Job.id == row_id).values(due_at=at))
        self._due(row_id)
        self.rows[row_id].rung = True

    def _owns(self, lease: Lease) -> bool:
        return self.rows[lease.row_id].owner == lease

    @invariant()
    def one_owner_at_most_may_record(self) -> None:
        with self.database.unit_of_work() as session:
            able = [lease for lease in self.ever if queue.load_leased(session, Job, lease) is not None]
            owners = [row.owner for row in self.rows.values() if row.owner is not None]
            assert {lease.token for lease in able} == {lease.token for lease in owners}
            assert len({lease.row_id for lease in able}) == len(able)

    def teardown(self) -> None:
        """Nobody starves: once every lease is over, whatever is due is claimed, in one go."""
        past = func.clock_timestamp() - timedelta(seconds=1)
        mine = Job.organization_id == self.tenant.organization_id
        with self.database.unit_of_work() as session:
            session.execute(update(Job).where(mine, Job.lease_token.is_not(None)).values(lease_expires_at=past))
        with self.database.unit_of_work() as session:
            leases = queue.claim(session, Job, lease_seconds=30, limit=100, where=mine)
            due = {row_id for row_id, row in self.rows.items() if row.due is not None}
            assert {lease.row_id for lease in leases} == due
            session.execute(update(Job).where(mine).values(due_at=None, lease_token=None, lease_expires_at=None))
