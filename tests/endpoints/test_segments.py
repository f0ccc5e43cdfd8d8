"""Usage segments: counted once, to the call; whatever is wrong with one changes nothing."""

import hashlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.billing import service as billing
from backend.billing.models import Charge, UsageRecord
from backend.core import wire
from backend.core.crypto import hash_token
from backend.core.db import Database
from backend.endpoints.errors import SegmentMalformed
from backend.endpoints.models import Replica, UsageSegment, VariantTraffic
from backend.endpoints.segments import MOST_SUMS, parse_segment
from backend.fleet.models import Assignment, Instance
from backend.fleet.subjects import owner_of
from backend.identity.models import ApiKey
from tests.endpoints.conftest import TYPE, World
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
URL = "/api/v1/endpoints"
KEY, OTHER_KEY = str(uuid4()), str(uuid4())


@pytest.fixture(autouse=True)
def _keys(world: World) -> None:
    """The keys of the lines belong to the test's tenant."""
    with world.controller.unit_of_work() as session:
        for key_id in (KEY, OTHER_KEY):
            session.merge(
                ApiKey(
                    id=UUID(key_id),
                    organization_id=world.tenant.organization_id,
                    name="key",
                    access_key_id=key_id,
                    token_hash=UUID(key_id).bytes,
                    secret_encrypted=b"",
                    role="developer",
                    scopes=[],
                    tags={},
                )
            )


def line(variant: str = "fp32", calls: int = 1, key: str = KEY, **other: Any) -> dict[str, Any]:
    values = {
        "at": time.time(),
        "variant": variant,
        "key_id": key,
        "calls": calls,
        "items": calls * 2,
        "bytes_in": 10,
        "bytes_out": 20,
        "compute_us": calls * 100,
        "errors": 0,
    }
    return values | other


class Delivery:
    """A replica in service and the means to deliver its segments."""

    def __init__(self, world: World, app: FastAPI, endpoint_id: str) -> None:
        (self.replica,) = world.bring_up(endpoint_id)
        self.world, self.endpoint_id = world, endpoint_id
        token = secrets.token_urlsafe()
        with world.controller.unit_of_work() as session:
            session.execute(
                update(Instance)
                .where(Instance.id == self.replica.instance_id)
                .values(token_hash=hashlib.sha256(token.encode()).digest())
            )
        self.agent = TestClient(app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)

    def content(self, segment: UUID, *lines: dict[str, Any], **header: Any) -> bytes:
        first = {
            "segment_id": str(segment),
            "replica_id": str(self.replica.id),
            "endpoint_id": self.endpoint_id,
            "opened_at": time.time(),
        }
        return b"".join(msgspec.json.encode(one) + b"\n" for one in (first | header, *lines))

    def post(self, segment_id: UUID, content: bytes, *, epoch: int = 1, assignment: UUID | None = None) -> Any:
        address = f"/agent/v1/assignments/{assignment or self.replica.assignment_id}/usage-segments/{segment_id}"
        return self.agent.post(address, params={"epoch": epoch}, content=content)

    def counts(self) -> tuple[int, int, int]:
        with self.world.app.unit_of_work(self.world.tenant.scope) as session:
            models = (UsageSegment, VariantTraffic, UsageRecord)
            one, two, three = (session.scalar(select(func.count()).select_from(model)) or 0 for model in models)
            return one, two, three


@pytest.fixture
def delivery(app: FastAPI, client: TestClient, world: World) -> Delivery:
    endpoint = client.post(URL, json=world.body()).json()
    return Delivery(world, app, endpoint["id"])


def test_a_segment_becomes_traffic_and_usage(client: TestClient, delivery: Delivery) -> None:
    segment_id = uuid4()
    lines = [
        line(calls=3),
        line(calls=4),
        line("int8", 2),
        line("fp32", 5, OTHER_KEY),
        line("int8", 0, errors=7, compute_us=0, items=0),
        line("", 0, errors=1, compute_us=0, items=0),
        line("target-that-is-none", 0, errors=1, compute_us=0, items=0),
    ]
    answer = delivery.post(segment_id, delivery.content(segment_id, *lines))
    assert (answer.status_code, answer.json()) == (200, {"accepted": True})
    assert delivery.counts() == (1, 4, 3)
    with delivery.world.app.unit_of_work(delivery.world.tenant.scope) as session:
        records = session.scalars(select(UsageRecord)).all()
    assert sum(record.quantity for record in records) == 14
    assert {record.sku for record in records} == {"inference:call"}
    assert sorted((record.detail["variant"], int(record.quantity)) for record in records) == [
        ("fp32", 5),
        ("fp32", 7),
        ("int8", 2),
    ]
    assert {str(record.resource_id) for record in records} == {delivery.endpoint_id}
    traffic = client.get(f"{URL}/{delivery.endpoint_id}/traffic").json()
    by_name = {one["variant"]: one for one in traffic["variants"]}
    assert (by_name["fp32"]["calls"], by_name["fp32"]["items"], by_name["fp32"]["compute_us"]) == (12, 24, 1200)
    assert (by_name["int8"]["calls"], by_name["int8"]["errors"], by_name[""]["errors"]) == (2, 7, 2)
    assert sum(one["calls"] for one in traffic["minutes"]) == 14


def test_a_replay_changes_nothing_and_other_content_is_refused(delivery: Delivery) -> None:
    segment_id = uuid4()
    content = delivery.content(segment_id, line(calls=3))
    delivery.post(segment_id, content)
    before = delivery.counts()
    again = delivery.post(segment_id, content)
    assert (again.status_code, again.json()) == (200, {"accepted": False})
    changed = delivery.post(segment_id, delivery.content(segment_id, line(calls=300)))
    assert (changed.status_code, changed.json()["code"]) == (409, "usage_segment_changed")
    assert delivery.counts() == before


def test_deliveries_at_the_same_time_count_once(delivery: Delivery) -> None:
    segment_id = uuid4()
    content = delivery.content(segment_id, line(calls=3), line("int8", 4))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: delivery.post(segment_id, content), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert sorted(answer.json()["accepted"] for answer in answers) == [False, False, False, True]
    assert delivery.counts() == (1, 2, 2)


def test_an_ended_assignment_still_delivers(delivery: Delivery) -> None:
    delivery.world.end(delivery.replica)
    delivery.world.tick()
    segment_id = uuid4()
    assert delivery.post(segment_id, delivery.content(segment_id, line())).status_code == 200


def test_what_is_not_this_assignments_is_refused(delivery: Delivery) -> None:
    segment_id = uuid4()
    good = delivery.content(segment_id, line())
    for header in ({"replica_id": str(uuid4())}, {"endpoint_id": str(uuid4())}, {"segment_id": str(uuid4())}):
        assert delivery.post(segment_id, delivery.content(segment_id, line(), **header)).status_code == 422
    assert delivery.post(segment_id, good, assignment=uuid4()).status_code == 404
    assert delivery.post(segment_id, good, epoch=2).status_code == 409
    assert delivery.post(segment_id, good, epoch=0).status_code == 422
    delivery.agent.headers["Authorization"] = "Bearer wrong"
    assert delivery.post(segment_id, good).status_code == 401
    assert delivery.counts() == (0, 0, 0)


@pytest.mark.parametrize(
    "lines",
    [
        [line("fp64")],
        [line(calls=-1)],
        [line(errors=-1)],
        [line(calls=2**54)],
        [line(calls=2**53), line(calls=2**53)],
        [line(key="me")],
        [line(at=-1)],
        [line(at=1e300)],
        [{"at": 1}],
    ],
)
def test_a_segment_that_cannot_be_true_is_refused(lines: list[dict[str, Any]]) -> None:
    header = {"segment_id": "s", "replica_id": "r", "endpoint_id": "e", "opened_at": 1.0}
    with pytest.raises(SegmentMalformed):
        parse_segment(b"\n".join(map(msgspec.json.encode, (header, *lines))), variants=["fp32", "int8"])


def test_what_is_malformed_leaves_nothing(delivery: Delivery) -> None:
    segment_id = uuid4()
    for content in (b"", b"\xff\n", delivery.content(segment_id, line(), line(calls=-1))):
        answer = delivery.post(segment_id, content)
        assert (answer.status_code, answer.json()["code"]) == (422, "usage_segment_malformed")
    assert delivery.counts() == (0, 0, 0)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"\xff\n", b"[" * 5000, b"null\n"])
def test_what_is_no_segment_is_refused(content: bytes) -> None:
    with pytest.raises(SegmentMalformed, match="line 1"):
        parse_segment(content, variants=[])


def test_a_segment_over_two_mebibytes_is_refused(delivery: Delivery) -> None:
    assert delivery.post(uuid4(), b"x" * (2 * 1024 * 1024 + 1)).status_code == 413


def test_a_clock_that_is_wrong_moves_no_usage_into_another_month(delivery: Delivery) -> None:
    segment_id = uuid4()
    lines = [line(at=time.time() - 10**8), line("int8", at=time.time() + 10**8)]
    assert delivery.post(segment_id, delivery.content(segment_id, *lines)).status_code == 200
    with delivery.world.app.unit_of_work(delivery.world.tenant.scope) as session:
        assignment = session.scalars(select(Assignment)).one()
        assert assignment.started_at is not None
        for record in session.scalars(select(UsageRecord)):
            assert assignment.started_at <= record.from_at <= record.to_at <= delivery.world.now()


def test_a_replicas_bill_is_split_by_compute_and_calls_are_billed_per_variant(
    client: TestClient, delivery: Delivery, controller_database: Database
) -> None:
    world = delivery.world
    sku = f"instance:{TYPE}:on-demand"
    with controller_database.unit_of_work() as session:
        session.execute(
            update(UsageRecord).where(UsageRecord.rated_at.is_(None)).values(rated_at=func.clock_timestamp())
        )
        start = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 1)
        session.execute(
            update(Assignment).where(Assignment.id == delivery.replica.assignment_id).values(started_at=start)
        )
    now = time.time()
    segment_id = uuid4()
    lines = [line("fp32", 3, at=now - 55), line("int8", 1, at=now - 54)]
    assert delivery.post(segment_id, delivery.content(segment_id, *lines)).status_code == 200
    world.say(delivery.replica, wire.Ended(outcome="stopped"), elapsed=10.0)
    world.tick()
    with controller_database.unit_of_work() as session:
        past = delivery.replica.created_at.replace(year=2025)
        billing.set_price(session, sku, Decimal("0.0001"), past)
        billing.set_price(session, "inference:call", Decimal("0.000001"), past)
    with controller_database.unit_of_work() as session:
        billing.rate(session, 1000, settle_seconds=3600)  # its agent told the end: nothing to wait for
    with world.app.unit_of_work(world.tenant.scope) as session:
        charges = session.scalars(select(Charge).order_by(Charge.sku, Charge.variant)).all()
    assert [(row.sku, row.variant, row.quantity, row.amount) for row in charges] == [
        ("inference:call", "fp32", Decimal(3), Decimal("0.000003")),
        ("inference:call", "int8", Decimal(1), Decimal("0.000001")),
        (sku, "fp32", Decimal("7.5"), Decimal("0.00075")),
        (sku, "int8", Decimal("2.5"), Decimal("0.00025")),
    ]
    items = client.get("/api/v1/charges", params={"resource_id": delivery.endpoint_id}).json()["items"]
    assert sum(Decimal(item["amount"]) for item in items) == Decimal("0.001004")


def test_a_traffic_period_runs_forward_for_a_week_at_most(client: TestClient, delivery: Delivery) -> None:
    address = f"{URL}/{delivery.endpoint_id}/traffic"
    day = "2026-03-0{}T00:00:00Z"
    for begin, end in ((day.format(2), day.format(1)), (day.format(1), "2026-03-09T00:00:00Z")):
        assert client.get(address, params={"from": begin, "to": end}).status_code == 422


counts = st.integers(0, 10**6)


@given(st.lists(st.tuples(st.sampled_from(["fp32", "int8"]), st.sampled_from([KEY, OTHER_KEY]), counts)))
def test_no_call_is_lost_in_summing(lines: list[tuple[str, str, int]]) -> None:
    header = {"segment_id": "s", "replica_id": "r", "endpoint_id": "e", "opened_at": 1.0}
    rows = [header, *(line(variant, calls, key) for variant, key, calls in lines)]
    segment = parse_segment(b"\n".join(map(msgspec.json.encode, rows)), variants=["fp32", "int8"])
    assert segment.calls == sum(calls for _, _, calls in lines)
    assert set(segment.sums) == {(variant, UUID(key)) for variant, key, _ in lines}


@given(st.binary(max_size=200))
def test_bytes_without_a_header_are_a_clear_error(content: bytes) -> None:
    with pytest.raises(SegmentMalformed, match="line 1"):
        parse_segment(content, variants=[])


def test_blobs_of_its_models_are_readable_and_no_others(delivery: Delivery) -> None:
    with delivery.world.app.unit_of_work(delivery.world.tenant.scope) as session:
        assignment = session.scalars(select(Assignment)).one()
        owner = owner_of(assignment)
        scope, storage = delivery.world.tenant.scope, delivery.world.context.storage
        variants = delivery.world.detail(delivery.endpoint_id).wanted.variants
        readable = owner.readable(session, storage, scope, assignment)
        assert readable == {f"{variant.model_version_id.int:064x}" for variant in variants}
        assert session.scalars(select(Replica)).one().probes[0]["ok"] is True


def test_a_key_of_another_organization_pays_for_nothing(
    delivery: Delivery, make_key: Callable[..., str], make_tenant: Callable[[], Tenant]
) -> None:
    token = make_key(make_tenant())
    with delivery.world.controller.unit_of_work() as session:
        theirs = session.scalars(select(ApiKey.id).where(ApiKey.token_hash == hash_token(token))).one()
    for key in (str(theirs), str(uuid4())):
        segment_id = uuid4()
        answer = delivery.post(segment_id, delivery.content(segment_id, line(), line(key=key)))
        assert (answer.status_code, answer.json()["code"]) == (422, "usage_segment_malformed")
    assert delivery.counts() == (0, 0, 0)


def test_a_segment_of_endless_keys_is_refused(delivery: Delivery) -> None:
    segment_id = uuid4()
    lines = [line(key=str(uuid4())) for _ in range(MOST_SUMS + 1)]
    answer = delivery.post(segment_id, delivery.content(segment_id, *lines))
    assert (answer.status_code, answer.json()["code"]) == (422, "usage_segment_malformed")
    assert delivery.counts() == (0, 0, 0)
