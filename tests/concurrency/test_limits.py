"""Limits hold when everybody asks at once: quotas, holds on spending, the last owner, attempts to log in."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from backend.audit.models import AuditEvent
from backend.billing import service as billing
from backend.billing.models import Budget, Charge, SpendingHold, UsageRecord
from backend.core.clock import database_now
from backend.core.db import act_as
from backend.core.ids import new_id
from backend.fleet.models import Instance
from backend.identity.limiter import PER_ACCOUNT_AND_ADDRESS
from backend.identity.models import Membership, User
from backend.jobs.models import Job
from tests.concurrency.engine import control, controllers, make_due
from tests.concurrency.place import Place, at_once, one_wins
from tests.fixtures.engine import SHAPE

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("count", [2, 8])]


@pytest.mark.parametrize("bounds", [{SHAPE: 1}, {"*": 1}, {SHAPE: 2, "*": 1}], ids=["type", "sum", "both"])
def test_no_more_instances_than_the_quota_allows(
    place: Place, count: int, bounds: dict[str, int], set_quota: Callable[..., None]
) -> None:
    for name, most in bounds.items():
        set_quota(place.tenant, name, most)
    job_ids = [UUID(place.submit(place.tenant, f"nap-{number}")["id"]) for number in range(count)]
    for _ in range(2):
        controllers(place, count, job_ids)
    assert place.count(Instance) == 1
    assert place.count(Job, Job.status == "provisioning") == 1
    assert place.count(Job, Job.status_reason.startswith("waiting for quota: 1 of 1")) == count - 1


def test_jobs_and_replicas_share_one_quota(place: Place, count: int, set_quota: Callable[..., None]) -> None:
    set_quota(place.tenant, "*", 1)
    place.new_endpoint()
    job_ids = [UUID(place.submit(place.tenant, f"nap-{number}")["id"]) for number in range(count - 1)]
    make_due(place, job_ids)
    calls: list[Callable[[], object]] = [lambda: control(place, job_ids)] * (count - 1)
    at_once([place.world.tick, *calls])
    assert place.count(Instance) == 1


def spend(place: Place, amount: str) -> None:
    """A charge of the tenant, now."""
    tenant, source_id = place.tenant, new_id()
    sku = f"instance:race-{source_id}:on-demand"
    with place.controller_database.unit_of_work() as session:
        now = database_now(session)
        price = billing.set_price(session, sku, Decimal(amount), now)
        record = UsageRecord(
            id=source_id,
            organization_id=tenant.organization_id,
            project_id=tenant.project_id,
            source_kind="attempt",
            source_id=source_id,
            resource_kind="job",
            resource_id=source_id,
            resource_name="nap",
            sku=sku,
            quantity=Decimal(1),
            from_at=now,
            to_at=now,
            rated_at=now,
        )
        session.add(record)
        session.flush()
        shared = ("organization_id", "project_id", "resource_kind", "resource_id", "resource_name", "from_at", "to_at")
        session.add(
            Charge(
                usage_record_id=record.id,
                price_id=price.id,
                sku=sku,
                quantity=Decimal(1),
                unit="second",
                unit_price=Decimal(amount),
                amount=Decimal(amount),
                **{name: getattr(record, name) for name in shared},
            )
        )


def check_budgets(place: Place) -> int:
    """As the billing controller does after charges."""
    with place.controller_database.unit_of_work() as session:
        act_as(session, place.tenant.organization_id)
        return billing.check_budgets(session, place.tenant.scope)


def test_a_budget_places_one_hold_and_it_is_lifted_once(place: Place, count: int) -> None:
    (client,) = place.clients(1)
    made = client.post("/api/v1/budgets", json={"amount": "5", "alert_percents": [80], "hold_at_limit": True})
    assert made.status_code == 201, made.text
    spend(place, "5")
    assert sorted(at_once([lambda: check_budgets(place)] * count)) == [0] * (count - 1) + [1]
    assert place.count(SpendingHold) == 1
    body = {"project_id": str(place.tenant.project_id), "name": "late", "instance_type": SHAPE}
    refused = place.all_send(count, "POST", "/sleep-jobs", body)
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(403, "spending_on_hold")] * count
    assert place.count(Job) == 0
    (hold,) = client.get("/api/v1/spending-holds").json()["items"]
    lifted = place.all_send(count, "POST", f"/spending-holds/{hold['id']}/lift")
    one_wins(lifted, 200, "spending_hold_not_found", lost=404)
    assert place.count(AuditEvent, AuditEvent.action == "spending_hold.lift") == 1
    assert at_once([lambda: check_budgets(place)] * count) == [0] * count, "lifted by a person, it stays lifted"


def test_a_budget_is_deleted_once_and_its_hold_goes(place: Place, count: int) -> None:
    (client,) = place.clients(1)
    budget = client.post("/api/v1/budgets", json={"amount": "5", "alert_percents": [], "hold_at_limit": True}).json()
    spend(place, "7")
    check_budgets(place)
    gone = place.all_send(count, "DELETE", f"/budgets/{budget['id']}")
    one_wins(gone, 204, "budget_not_found", lost=404)
    assert place.count(Budget) == 0
    assert sorted(at_once([lambda: check_budgets(place)] * count)) == [0] * (count - 1) + [1]
    assert place.count(SpendingHold, SpendingHold.lifted_at.is_(None)) == 0


def owners(place: Place, count: int) -> list[UUID]:
    """So many owners."""
    with place.controller_database.unit_of_work() as session:
        users = [User(email=f"{uuid4()}@example.org", full_name="O", password_hash="") for _ in range(count)]
        session.add_all(users)
        session.flush()
        mine = {"organization_id": place.tenant.organization_id, "role": "owner"}
        session.add_all(Membership(user_id=user.id, **mine) for user in users)
    return [user.id for user in users]


@pytest.mark.parametrize("how", ["DELETE", "PATCH"])
def test_an_organization_keeps_an_owner(place: Place, count: int, how: str) -> None:
    """Every owner is removed, or made a viewer, in the same moment."""
    body = {"role": "viewer"} if how == "PATCH" else None

    def end(user_id: UUID, client: Any) -> Callable[[], Any]:
        return lambda: client.request(how, f"/api/v1/members/{user_id}", json=body)

    pairs = zip(owners(place, count), place.clients(count), strict=True)
    answers = at_once([end(user_id, client) for user_id, client in pairs])
    refused = [answer.json()["code"] for answer in answers if answer.status_code not in (200, 204)]
    assert refused == ["last_owner"]
    assert place.count(Membership, Membership.role == "owner") == 1


def test_attempts_to_log_in_are_counted_at_once_too(place: Place, count: int) -> None:
    login = {"email": f"{uuid4()}@example.org", "password": "wrong"}
    anybody = [place.make_client() for _ in range(count)]
    told: list[int] = []
    while len(told) < 2 * PER_ACCOUNT_AND_ADDRESS:
        told += [
            answer.status_code
            for answer in at_once([lambda one=one: one.post("/api/v1/session", json=login) for one in anybody])  # type: ignore[misc]  # mypy cannot infer a lambda's default
        ]
    assert told.count(401) == PER_ACCOUNT_AND_ADDRESS
    assert set(told) == {401, 429}


def test_no_hold_is_placed_twice_for_one_month(place: Place, count: int) -> None:
    """The sum of charges is read under the budget's lock: charges written meanwhile are seen by the next check."""
    (client,) = place.clients(1)
    client.post("/api/v1/budgets", json={"amount": "1", "alert_percents": [], "hold_at_limit": True})
    calls: list[Callable[[], object]] = [lambda: spend(place, "1")] * (count - 1)
    at_once([lambda: check_budgets(place), *calls])
    check_budgets(place)
    assert place.count(SpendingHold) == 1
    with place.app_database.unit_of_work(place.tenant.scope) as session:
        assert session.scalar(select(func.sum(Charge.amount))) == Decimal(count - 1)
