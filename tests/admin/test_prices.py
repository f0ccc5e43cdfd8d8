"""Prices over the operators' API: who may, from when, and a bill that is right across every change."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from backend.audit.models import AuditEvent
from backend.billing import service as billing
from backend.billing.models import Charge, Price
from backend.core.db import Database
from backend.core.ids import new_id
from backend.fleet.models import Instance, InstanceType
from backend.identity import operators
from tests.admin.conftest import Operator
from tests.fixtures.database import Tenant
from tests.identity.conftest import Person

pytestmark = pytest.mark.integration
PRICES = "/api/v1/admin/prices"
DENIED = "42501"


def sku_of(shape: str, market: str = "on-demand") -> str:
    return f"instance:{shape}:{market}"


def use(app: Database, tenant: Tenant, sku: str, begin: datetime, end: datetime, quantity: Decimal) -> None:
    """One slice of one source."""
    source = new_id()
    with app.unit_of_work(tenant.scope) as session:
        billing.record_usage(
            session, tenant.scope, project_id=tenant.project_id, source_kind="attempt", source_id=source,
            resource_kind="job", resource_id=source, resource_name="job", sku=sku, quantity=quantity, from_at=begin,
            to_at=end, detail={},
        )  # fmt: skip


def test_a_price_is_looked_at_set_and_stands_in_the_audit(
    operator: Operator, shape: str, tenant: Tenant, controller_database: Database
) -> None:
    sku, later = sku_of(shape), datetime.now(UTC) + timedelta(days=3)
    with controller_database.unit_of_work() as session:
        session.add(
            Instance(
                organization_id=tenant.organization_id, project_id=tenant.project_id, instance_type=shape,
                market="on-demand", provider="local", tag=f"tag-{new_id()}", status="ready", status_reason="",
            )
        )  # fmt: skip
    first = operator.client.post(PRICES, json={"sku": sku, "amount": "0.000025", "description": "small"})
    assert first.status_code == 201, first.text
    wanted = {"sku": sku, "amount": "0.00003", "effective_from": later.isoformat()}
    looked = operator.client.post(f"{PRICES}/preview", json=wanted).json()
    assert (looked["was"], looked["amount"], looked["unit"]) == ("0.000025", "0.00003", "second")
    assert (looked["instances"], looked["organizations"], looked["endpoints"]) == (1, 1, 0)
    second = operator.client.post(PRICES, json=wanted)
    assert second.status_code == 201
    listed = [one for one in operator.client.get("/api/v1/prices").json()["items"] if one["sku"] == sku]
    assert [one["amount"] for one in listed] == ["0.000025", "0.00003"]
    assert listed[0]["effective_to"] == listed[1]["effective_from"]
    assert {one["description"] for one in listed} == {"small"}
    with controller_database.unit_of_work() as session:
        written = session.scalars(select(Price).where(Price.sku == sku)).all()
        assert {one.set_by for one in written} == {f"operator:{operator.person.user_id}"}
        told = session.scalars(
            select(AuditEvent)
            .where(AuditEvent.organization_id == operator.tenant.organization_id, AuditEvent.action == "price.set")
            .order_by(AuditEvent.id)
        ).all()
        assert [(one.actor, one.resource_id, one.detail["was"], one.detail["amount"]) for one in told] == [
            (f"operator:{operator.person.user_id}", sku, None, "0.000025"),
            (f"operator:{operator.person.user_id}", sku, "0.000025", "0.00003"),
        ]


def test_never_backwards(operator: Operator, shape: str) -> None:
    sku = sku_of(shape, "spot")
    for path in (PRICES, f"{PRICES}/preview"):
        old = operator.client.post(path, json={"sku": sku, "amount": "1", "effective_from": "2026-01-01T00:00:00Z"})
        assert (old.status_code, old.json()["code"]) == (409, "price_in_the_past")
    begins = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert operator.client.post(PRICES, json={"sku": sku, "amount": "1", "effective_from": begins}).status_code == 201
    taken = operator.client.post(PRICES, json={"sku": sku, "amount": "2", "effective_from": begins})
    assert (taken.status_code, taken.json()["code"]) == (409, "price_in_the_past")


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "-1"},
        {"amount": "0.0000000001"},
        {"amount": "many"},
        {"amount": "NaN"},
        {"sku": "instance:none:spot"},
        {"sku": "bananas"},
        {"sku": ""},
        {"effective_from": "2030-01-01T00:00:00"},
        {"description": "\x00"},
        {"surprise": 1},
    ],
)
def test_what_is_no_price_is_refused(operator: Operator, shape: str, wrong: dict[str, Any]) -> None:
    answer = operator.client.post(PRICES, json={"sku": sku_of(shape), "amount": "1"} | wrong)
    assert answer.status_code == 422, answer.text


def test_no_key_and_no_owner_sets_a_price(
    make_client: Callable[..., TestClient],
    make_person: Callable[..., Person],
    browser: Callable[[Person], TestClient],
    operator: Operator,
    shape: str,
) -> None:
    body = {"sku": sku_of(shape), "amount": "1"}
    for client in (make_client(operator.tenant), browser(make_person(operator.tenant))):
        answer = client.post(PRICES, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    alone = TestClient(operator.client.app, cookies=dict(operator.client.cookies))
    assert alone.post(PRICES, json=body).json()["code"] == "cross_site_request"


@pytest.mark.parametrize("presented", ["nothing", "a stranger's", "a former operator's", "an ended one"])
def test_postgres_itself_refuses_a_price_without_an_operators_session(
    *,
    app_database: Database,
    controller_database: Database,
    make_person: Callable[..., Person],
    browser: Callable[[Person], TestClient],
    operator: Operator,
    shape: str,
    presented: str,
) -> None:
    """The API's own database role cannot write the list, whatever the code above it believes."""
    sku = sku_of(shape)
    assert operator.client.post(PRICES, json={"sku": sku, "amount": "1"}).status_code == 201
    token = operator.client.cookies["modelyard_session"]
    if presented == "a stranger's":
        token = browser(make_person(operator.tenant)).cookies["modelyard_session"]
    elif presented == "a former operator's":
        with controller_database.unit_of_work() as session:
            operators.revoke(session, operator.person.email, by="system:test")
    elif presented == "an ended one":
        assert operator.client.delete("/api/v1/session").status_code == 204
    present = text("SELECT set_config('app.operator_session', :token, true)")
    add = text(
        "INSERT INTO prices (id, sku, unit, amount, description, effective_from)"
        " VALUES (:id, :sku, 'second', 0, '', '2031-01-01')"
    )
    with app_database.unit_of_work(operator.tenant.scope) as session:
        session.execute(present, {"token": "" if presented == "nothing" else token})
        changed = session.execute(text("UPDATE prices SET effective_to = now() WHERE sku = :sku"), {"sku": sku})
        assert changed.rowcount == 0  # type: ignore[attr-defined]  # of a cursor
        assert session.scalar(text("SELECT operator_charged_after(:sku, '2000-01-01')"), {"sku": sku}) is False
        with pytest.raises(DBAPIError) as refused:
            session.execute(add, {"id": new_id(), "sku": f"{sku}-2"})
        session.rollback()
    assert getattr(refused.value.orig, "sqlstate", None) == DENIED


def test_a_change_now_leaves_what_was_used_before_at_the_old_price(
    operator: Operator, shape: str, tenant: Tenant, app_database: Database, controller_database: Database
) -> None:
    sku = sku_of(shape)
    operator.client.post(PRICES, json={"sku": sku, "amount": "0.5"})
    time.sleep(0.05)
    begin = datetime.now(UTC)
    time.sleep(0.05)
    made = operator.client.post(PRICES, json={"sku": sku, "amount": "2"}).json()
    at = datetime.fromisoformat(made["effective_from"])
    end = at + (at - begin)
    use(app_database, tenant, sku, begin, end, Decimal("0.200"))
    with controller_database.unit_of_work() as session:
        billing.rate(session, 1000, settle_seconds=0)
    with app_database.unit_of_work(tenant.scope) as session:
        found = session.scalars(select(Charge).where(Charge.sku == sku).order_by(Charge.from_at)).all()
        assert [(one.unit_price, one.from_at, one.to_at) for one in found] == [
            (Decimal("0.5"), begin, at),
            (Decimal(2), at, end),
        ]
        assert sum(one.quantity for one in found) == Decimal("0.200")
    again = operator.client.post(PRICES, json={"sku": sku, "amount": "3", "effective_from": (end).isoformat()})
    assert again.status_code in {201, 409}  # the end may have passed by now
    charged = operator.client.post(
        PRICES, json={"sku": sku, "amount": "3", "effective_from": (datetime.now(UTC)).isoformat()}
    )
    assert charged.status_code == 409


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(1, 3_599), st.integers(0, 10**9)), min_size=1, max_size=4, unique_by=lambda pair: pair[0]
    ),
    slices=st.lists(
        st.tuples(st.integers(0, 3_500), st.integers(1, 900), st.integers(1, 900_000)), min_size=1, max_size=4
    ),
)
def test_a_bill_is_right_to_the_last_digit_across_changes(
    *,
    operator: Operator,
    app_database: Database,
    controller_database: Database,
    tenant: Tenant,
    changes: list[tuple[int, int]],
    slices: list[tuple[int, int, int]],
) -> None:
    """Any prices set over the API, any slices over them: what is charged is what a clerk with fractions says."""
    shape = f"test.{new_id()}"
    with controller_database.unit_of_work() as session:
        session.add(InstanceType(name=shape, provider="local", vcpus=1.0, memory_bytes=2**30, description="test"))
    sku, zero = sku_of(shape), datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    steps = [(0, 1_000), *sorted(changes)]
    for at, nanos in steps:
        body = {"sku": sku, "amount": f"{Decimal(nanos).scaleb(-9):f}", "effective_from": _at(zero, at).isoformat()}
        answer = operator.client.post(PRICES, json=body)
        assert answer.status_code == 201, answer.text
    expected = Fraction(0)
    for begin, seconds, thousandths in slices:
        use(app_database, tenant, sku, _at(zero, begin), _at(zero, begin + seconds), Decimal(thousandths) / 1000)
        expected += _clerk(steps, begin, seconds, thousandths)
    with controller_database.unit_of_work() as session:
        billing.rate(session, 10_000, settle_seconds=0)
    with app_database.unit_of_work(tenant.scope) as session:
        found = session.scalars(select(Charge).where(Charge.sku == sku)).all()
        assert sum(Fraction(one.quantity) for one in found) == Fraction(sum(each[2] for each in slices), 1000)
        exact = sum((Fraction(one.amount) for one in found), Fraction(0))
    assert exact == expected


def _at(zero: datetime, second: int) -> datetime:
    return zero + timedelta(seconds=second)


def _clerk(steps: list[tuple[int, int]], begin: int, seconds: int, thousandths: int) -> Fraction:
    """Dollars of a slice: evenly over its time in whole thousandths, the last piece takes what is left."""
    cuts = [begin, *(at for at, _ in steps if begin < at < begin + seconds), begin + seconds]
    pieces = [thousandths * (right - left) // seconds for left, right in pairwise(cuts)]
    pieces[-1] = thousandths - sum(pieces[:-1])
    prices = [max((at, nanos) for at, nanos in steps if at <= left)[1] for left in cuts[:-1]]
    return sum((Fraction(piece * price, 10**12) for piece, price in zip(pieces, prices, strict=True)), Fraction(0))
