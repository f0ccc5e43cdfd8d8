"""From usage to charges: slices in any order and again, prices set meanwhile, ratings by two at once, budgets.

The model shares no code with billing. It knows what was recorded and which prices were accepted, and computes the
whole bill anew from the *final* price list with fractions: if that equals the charges, which were made one by one
under the price list of their moment, then neither order nor replays nor price changes have moved a cent.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from threading import Barrier
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.billing import service as billing
from backend.billing.errors import PriceInThePast, UsageNotExact, UsageOverlap
from backend.billing.models import Charge, SpendingHold, UsageRecord
from backend.core.clock import database_now
from backend.core.db import Database, act_as
from backend.core.ids import new_id
from tests.fixtures.database import Tenant

MICROSECOND = timedelta(microseconds=1)
WHICH = st.integers(0, 99)
OFFSETS = st.integers(0, 120_000_000)
"""Microseconds after the game's start: nothing says that a price changes on a whole millisecond."""
NANOS = st.integers(0, 10**10)


@dataclass(frozen=True)
class Slice:
    """[begin, end) in microseconds after the start; quantity in thousandths."""

    source_id: UUID
    kind: str
    begin: int
    end: int
    thousandths: int


class MoneyMachine(RuleBasedStateMachine):
    """One tenant with two SKUs of its own, metered, rated and budgeted in any order."""

    app: Database
    controller: Database
    make_tenant: Callable[[], Tenant]
    make_client: Callable[..., TestClient]

    def __init__(self) -> None:
        super().__init__()
        self.tenant = self.make_tenant()
        self.client = self.make_client(self.tenant)
        self.skus = {
            "attempt": f"instance:{self.tenant.organization_id}:on-demand",
            "calls": f"calls:{self.tenant.organization_id}",
        }
        self.slices: list[Slice] = []
        self.cursor: dict[UUID, int] = {}
        self.kinds: dict[UUID, str] = {}
        self.prices: dict[str, dict[int, int]] = {kind: {} for kind in self.skus}
        self.rated: set[Slice] = set()
        self.budget: str | None = None
        self.limit = Decimal(0)
        self.held = False
        self.placed_at_limits: set[Decimal] = set()

    @initialize()
    def starts_now(self) -> None:
        with self.controller.unit_of_work() as session:
            # What other tests left unrated is not this game's.
            leavings = update(UsageRecord).where(UsageRecord.rated_at.is_(None))
            session.execute(leavings.values(rated_at=func.clock_timestamp()))
            self.start = database_now(session)

    def _at(self, microseconds: int) -> datetime:
        return self.start + microseconds * MICROSECOND

    # --- usage ------------------------------------------------------------------------------------------

    def _record(self, one: Slice, *, thousandths: int | None = None) -> bool:
        with self.app.unit_of_work(self.tenant.scope) as session:
            return billing.record_usage(
                session,
                self.tenant.scope,
                project_id=self.tenant.project_id,
                source_kind=one.kind,
                source_id=one.source_id,
                resource_kind="job",
                resource_id=one.source_id,
                resource_name="nap",
                sku=self.skus[one.kind],
                quantity=Decimal(one.thousandths if thousandths is None else thousandths) / 1000,
                from_at=self._at(one.begin),
                to_at=self._at(one.end),
                detail={},
            )

    @rule(kind=st.sampled_from(["attempt", "attempt", "calls"]), begin=OFFSETS)
    def a_source_starts(self, kind: str, begin: int) -> None:
        source_id = new_id()
        self.cursor[source_id], self.kinds[source_id] = begin, kind

    @rule(which=WHICH, milliseconds=st.integers(1, 60_000), calls=st.integers(0, 500))
    @precondition(lambda self: self.cursor)
    def the_next_slice(self, which: int, milliseconds: int, calls: int) -> None:
        source_id = list(self.cursor)[which % len(self.cursor)]
        kind, begin = self.kinds[source_id], self.cursor[source_id]
        amount = milliseconds if kind == "attempt" else calls * 1000
        one = Slice(source_id, kind, begin, begin + milliseconds * 1000, amount)
        assert self._record(one)
        self.slices.append(one)
        self.cursor[source_id] = one.end

    @rule(which=WHICH, tamper=st.sampled_from(["", "", "quantity", "longer", "shifted", "too fine"]))
    @precondition(lambda self: self.slices)
    def a_slice_again(self, which: int, tamper: str) -> None:
        """Unchanged it changes nothing; changed it is refused."""
        one = self.slices[which % len(self.slices)]
        if not tamper:
            assert not self._record(one)
            return
        changed, thousandths = one, one.thousandths
        if tamper == "quantity":
            thousandths += 1000
        elif tamper == "longer":
            changed = Slice(one.source_id, one.kind, one.begin, one.end + 1, one.thousandths)
        elif tamper == "shifted":
            changed = Slice(one.source_id, one.kind, one.begin + 1, one.end + 1, one.thousandths)
        try:
            if tamper == "too fine":
                with self.app.unit_of_work(self.tenant.scope):
                    billing.whole_milliseconds(0.0)
                self._record_too_fine(one)
            else:
                self._record(changed, thousandths=thousandths)
        except (UsageOverlap, UsageNotExact):
            return
        raise AssertionError(f"{tamper} was taken")

    def _record_too_fine(self, one: Slice) -> None:
        with self.app.unit_of_work(self.tenant.scope) as session:
            billing.record_usage(
                session,
                self.tenant.scope,
                project_id=self.tenant.project_id,
                source_kind=one.kind,
                source_id=one.source_id,
                resource_kind="job",
                resource_id=one.source_id,
                resource_name="nap",
                sku=self.skus[one.kind],
                quantity=Decimal("0.0001"),
                from_at=self._at(one.end),
                to_at=self._at(one.end + 1),
                detail={},
            )

    # --- prices and ratings -----------------------------------------------------------------------------

    @rule(kind=st.sampled_from(["attempt", "calls"]), begin=st.one_of(st.just(0), OFFSETS), nanos=NANOS)
    def a_price_is_set(self, kind: str, begin: int, nanos: int) -> None:
        """From any moment on, as long as nothing beyond it has been charged and none starts just there."""
        charged = any(one.end > begin for one in self.rated if one.kind == kind)
        known = self.prices[kind].get(begin)
        refused = known != nanos and (known is not None or charged)
        try:
            with self.controller.unit_of_work() as session:
                billing.set_price(session, self.skus[kind], Decimal(nanos).scaleb(-9), self._at(begin))
        except PriceInThePast:
            assert refused
        else:
            assert not refused
            self.prices[kind][begin] = nanos

    @rule(limit=st.integers(1, 8), raters=st.sampled_from([1, 2]))
    def rate(self, limit: int, raters: int) -> None:
        barrier = Barrier(raters)

        def one(_: int) -> int:
            barrier.wait(30)
            with self.controller.unit_of_work() as session:
                return billing.rate(session, limit).records

        with ThreadPoolExecutor(raters) as pool:
            count = sum(pool.map(one, range(raters)))
        waiting = [each for each in self.slices if each not in self.rated and self._pieces(each) is not None]
        assert count <= len(waiting)
        assert raters > 1 or count == min(limit, len(waiting))
        self.rated |= self._rated_now()

    def _rated_now(self) -> set[Slice]:
        with self.controller.unit_of_work() as session:
            mine = UsageRecord.organization_id == self.tenant.organization_id
            rows = session.execute(
                select(UsageRecord.source_id, UsageRecord.from_at).where(mine, UsageRecord.rated_at.is_not(None))
            )
            keys = {(row.source_id, (row.from_at - self.start) // MICROSECOND) for row in rows}
        return {one for one in self.slices if (one.source_id, one.begin) in keys}

    def _pieces(self, one: Slice) -> list[tuple[int, int]] | None:
        """(microseconds, nano-dollars per unit) of a slice under the prices known now; None = not all of it."""
        starts = sorted(self.prices[one.kind])
        if not starts or starts[0] > one.begin:
            return None
        cuts = [one.begin, *(start for start in starts if one.begin < start < one.end), one.end]
        in_force = [self.prices[one.kind][max(start for start in starts if start <= cut)] for cut in cuts[:-1]]
        return [(end - begin, nanos) for begin, end, nanos in zip(cuts[:-1], cuts[1:], in_force, strict=True)]

    def _cost(self, one: Slice) -> Fraction:
        """Whole grains go to each piece in proportion to its time; the last piece takes what is left."""
        pieces = self._pieces(one)
        assert pieces is not None
        grain = 1 if one.kind == "attempt" else 1000
        grains, total = one.thousandths // grain, one.end - one.begin
        shares = [grains * length // total for length, _ in pieces[:-1]]
        shares.append(grains - sum(shares))
        return sum(
            (
                Fraction(share * grain, 1000) * Fraction(nanos, 10**9)
                for share, (_, nanos) in zip(shares, pieces, strict=True)
            ),
            Fraction(0),
        )

    # --- budgets ----------------------------------------------------------------------------------------

    @rule(amount=st.sampled_from(["0.5", "5", "50", "5000"]))
    def a_budget_is_made_or_changed(self, amount: str) -> None:
        if self.budget is None:
            body = {"amount": amount, "alert_percents": [50], "hold_at_limit": True}
            self.budget = self.client.post("/api/v1/budgets", json=body).json()["id"]
            self.placed_at_limits = set()
        else:
            answer = self.client.patch(f"/api/v1/budgets/{self.budget}", json={"amount": amount})
            assert answer.status_code == 200, answer.text
        self.limit = Decimal(amount)

    @rule()
    @precondition(lambda self: self.budget is not None)
    def the_budget_goes(self) -> None:
        assert self.client.delete(f"/api/v1/budgets/{self.budget}").status_code == 204
        self.budget = None

    @rule()
    @precondition(lambda self: self.held)
    def a_person_lifts_the_hold(self) -> None:
        (hold,) = self.client.get("/api/v1/spending-holds").json()["items"]
        assert self.client.post(f"/api/v1/spending-holds/{hold['id']}/lift").status_code == 200
        self.held = False

    @rule()
    def budgets_are_checked(self) -> None:
        with self.controller.unit_of_work() as session:
            act_as(session, self.tenant.organization_id)
            changed = billing.check_budgets(session, self.tenant.scope)
        reached = self.budget is not None and self._bill() >= Fraction(self.limit)
        before = self.held
        if not reached:
            self.held = False
        elif not self.held and self.limit not in self.placed_at_limits:
            self.held = True
            self.placed_at_limits.add(self.limit)
        assert changed == (before != self.held)

    def _bill(self) -> Fraction:
        return sum((self._cost(one) for one in self.rated), Fraction(0))

    # --- what always holds ------------------------------------------------------------------------------

    @invariant()
    def the_bill_is_what_the_model_says(self) -> None:
        with self.controller.unit_of_work() as session:
            mine = Charge.organization_id == self.tenant.organization_id
            amounts = session.scalars(select(Charge.amount).where(mine)).all()
            sums = (
                select(Charge.usage_record_id, func.sum(Charge.quantity)).where(mine).group_by(Charge.usage_record_id)
            )
            quantities = {row[0]: row[1] for row in session.execute(sums.group_by(Charge.usage_record_id))}
            own = UsageRecord.organization_id == self.tenant.organization_id
            records = session.scalars(select(UsageRecord).where(own)).all()
            holds = session.scalar(
                select(func.count()).where(
                    SpendingHold.organization_id == self.tenant.organization_id, SpendingHold.lifted_at.is_(None)
                )
            )
        assert sum((Fraction(amount) for amount in amounts), Fraction(0)) == self._bill()
        assert {each.id: each.quantity for each in records if each.rated_at is not None} == quantities
        assert holds == self.held
        found = {(each.source_id, (each.from_at - self.start) // MICROSECOND): each for each in records}
        assert len(found) == len(records) == len(self.slices)
        for one in self.slices:
            kept = found[one.source_id, one.begin]
            assert (kept.quantity * 1000, kept.to_at) == (Decimal(one.thousandths), self._at(one.end))

    def teardown(self) -> None:
        """All of it again, backwards: nothing is new, and nothing is charged."""
        if not hasattr(self, "start"):
            return
        assert not any(self._record(one) for one in reversed(self.slices))
        self.rate(limit=8, raters=1)
        while any(one not in self.rated and self._pieces(one) is not None for one in self.slices):
            self.rate(limit=8, raters=2)
        self.the_bill_is_what_the_model_says()
        # The game meters ahead of the clock: without its end, the summary would stop at now.
        period = {"from": self.start.isoformat(), "to": (self.start + timedelta(days=1)).isoformat()}
        spent = self.client.get("/api/v1/costs/summary", params=period).json()
        assert Fraction(spent["total"]) == self._bill()
