"""The endpoints' pages over real rows: list, form, tabs, changes, deletion."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.billing import service as billing
from backend.billing.charging import rate
from backend.core.auth import Principal
from backend.core.ids import new_id
from backend.endpoints.service import ConfigRequest, create_endpoint, get_endpoint
from backend.endpoints.variants import VariantRequest
from frontend.pages.jobs import STOP_POLLING
from tests.endpoints.conftest import TYPE, World, control_context, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.frontend.conftest import Member
from tests.frontend.endpoints import DIGITS, deliver, grow_older, usage
from tests.frontend.test_dashboard import enter
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}
TABS = ("", "/variants", "/playground", "/snippets", "/events", "/cost", "/replicas")


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def world(make_world: Callable[[Tenant], World], member: Member) -> World:  # noqa: F811 - the fixture
    return make_world(member.tenant)


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


def token(visitor: TestClient) -> str:
    return parse(visitor.get("/endpoints").text).fields["csrf_token"]


def filled(world: World, **other: str) -> dict[str, str]:
    """The form of a new endpoint with two variants."""
    values = {
        "project_id": str(world.tenant.project_id),
        "name": "digits",
        "instance_type": TYPE,
        "replica_count": "1",
        "variants.0.name": "fp32",
        "variants.0.model_version_id": str(world.make_version(DIGITS)),
        "variants.0.weight": "70",
        "variants.1.name": "int8",
        "variants.1.model_version_id": str(world.make_version(DIGITS)),
        "variants.1.weight": "30",
    }
    return values | other


def made(visitor: TestClient, world: World, **other: str) -> UUID:
    """An endpoint, made by the form."""
    answer = visitor.post("/endpoints/new", data={"csrf_token": token(visitor), **filled(world, **other)})
    assert answer.status_code == 303, answer.text
    return UUID(answer.headers["location"].rpartition("/")[2])


def test_the_first_visit_offers_the_first_step(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    text = visitor.get("/endpoints").text
    assert "No endpoints yet" in text
    assert "/endpoints/new" in text
    assert "There is no model version to serve yet" in visitor.get("/endpoints/new").text


def test_an_endpoint_is_made_by_the_form_and_every_tab_shows_it(
    visitor: TestClient, member: Member, world: World
) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    listed = visitor.get("/endpoints").text
    assert "Creating" in listed
    assert 'hx-trigger="every 3s' in listed
    world.bring_up(endpoint)
    world.tick()
    for tab in TABS:
        page = visitor.get(f"/endpoints/{endpoint}{tab}")
        assert page.status_code == 200, tab
        assert "In service" in page.text
        assert parse(page.text).refused == []
        chinese = visitor.get(f"/endpoints/{endpoint}{tab}", headers={"Accept-Language": "zh-CN"})
        assert "服务中" in chinese.text
    assert "70%" in visitor.get(f"/endpoints/{endpoint}/variants").text
    assert visitor.get("/endpoints?text=digi").text.count(f'id="endpoint-{endpoint}"') == 1
    assert "No endpoint matches" in visitor.get("/endpoints?text=other").text
    settled = visitor.get("/endpoints", headers={"HX-Request": "true", "HX-Trigger": "endpoints"})
    assert settled.status_code == STOP_POLLING


def test_a_form_with_mistakes_is_shown_again_with_what_was_typed(
    visitor: TestClient, member: Member, world: World
) -> None:
    enter(visitor, member)
    typed = filled(world, name="not a name", **{"variants.1.weight": "-1", "replica_count": "0"})
    answer = visitor.post("/endpoints/new", data={"csrf_token": token(visitor), **typed})
    assert answer.status_code == 422
    page = parse(answer.text)
    assert page.fields["name"] == "not a name"
    assert page.fields["variants.1.weight"] == "-1"
    for field in ("name", "replica_count", "variants-1-weight"):
        assert f'id="field-{field}-error"' in answer.text
    made(visitor, world)
    again = visitor.post("/endpoints/new", data={"csrf_token": token(visitor), **filled(world)})
    assert again.status_code == 422
    assert "exists" in again.text


def test_rows_come_and_go_and_the_price_follows(visitor: TestClient, member: Member, world: World) -> None:
    enter(visitor, member)
    typed = filled(world) | {"csrf_token": token(visitor)}
    more = visitor.post("/endpoints/new/form?more=true", data=typed)
    assert 'name="variants.2.name"' in more.text
    less = visitor.post("/endpoints/new/form?less=0", data=typed)
    assert 'name="variants.0.name"' not in less.text
    assert parse(less.text).fields["variants.1.name"] == "int8"
    priced = visitor.post("/endpoints/new/form", data=typed)
    assert "--variant fp32=" in priced.text
    assert "curl -X POST http://testserver/api/v1/endpoints" in priced.text
    assert "name=&#34;fields&#34;" not in priced.text


def test_weights_change_and_a_change_from_an_outdated_page_is_shown(
    visitor: TestClient, member: Member, world: World
) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    typed = {
        "csrf_token": token(visitor),
        "seen": "1",
        "variants.0.name": "fp32",
        "variants.0.weight": "10",
        "variants.1.name": "int8",
        "variants.1.weight": "90",
    }
    assert visitor.post(f"/endpoints/{endpoint}/weights", data=typed).status_code == 303
    assert "90%" in visitor.get(f"/endpoints/{endpoint}/variants").text
    late = visitor.post(f"/endpoints/{endpoint}/weights", data=typed | {"variants.0.weight": "55"})
    assert late.status_code == 409
    page = parse(late.text)
    assert page.fields["variants.0.weight"] in {"55", "10"}
    assert 'value="55"' in late.text
    assert "config 2 is wanted now" in late.text
    assert page.fields["seen"] == "2"
    zero = typed | {"seen": "2", "variants.0.weight": "0", "variants.1.weight": "0"}
    assert "at least one variant" in visitor.post(f"/endpoints/{endpoint}/weights", data=zero).text.lower()
    nonsense = visitor.post(f"/endpoints/{endpoint}/weights", data=typed | {"seen": "2", "variants.0.weight": "x"})
    assert nonsense.status_code == 422


def test_a_config_changes_variants_and_replicas(visitor: TestClient, member: Member, world: World) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    typed = filled(world, replica_count="2") | {"csrf_token": token(visitor), "seen": "1", "processes": "1"}
    del typed["project_id"], typed["name"]
    bad = visitor.post(f"/endpoints/{endpoint}/config", data=typed | {"variants.1.name": "fp32"})
    assert bad.status_code == 422
    assert visitor.post(f"/endpoints/{endpoint}/config", data=typed).status_code == 303
    assert visitor.post(f"/endpoints/{endpoint}/config", data=typed).status_code == 409
    with world.app.unit_of_work(world.tenant.scope) as session:
        assert get_endpoint(session, world.tenant.scope, endpoint).wanted.config.replica_count == 2
    events = visitor.get(f"/endpoints/{endpoint}/events").text
    assert "Config 2" in events
    assert "never answered" in events


def test_which_version_answered_at_a_time(visitor: TestClient, member: Member, world: World) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    world.bring_up(endpoint)
    path = f"/endpoints/{endpoint}/events"
    later = (datetime.now(UTC) + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%S")
    assert "config 1 answered" in visitor.get(path, params={"at": later}).text
    assert "nothing answered" in visitor.get(path, params={"at": "2020-01-01T00:00"}).text
    wrong = visitor.get(path, params={"at": "yesterday"})
    assert wrong.status_code == 422
    assert "Write a time" in wrong.text


def test_traffic_is_shown_by_variant_with_its_latency(visitor: TestClient, member: Member, world: World) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    (replica,) = world.bring_up(endpoint)
    for _ in range(2):
        lines = usage(world, "fp32", calls=30, latency={20: 25, 32: 5}), usage(world, "int8", calls=10)
        deliver(world, replica, *lines)
        grow_older(world, timedelta(minutes=2))
    page = visitor.get(f"/endpoints/{endpoint}").text
    assert "75%" in page
    assert "80 calls in the last hour" in page
    listed = visitor.get("/endpoints").text
    assert 'data-label="Calls, last hour" class="num">80<' in listed
    assert "24 ms" in listed  # the 57th of 60 calls lies in bucket 32, from 21.5 to 25.6 ms
    base = f"/endpoints/{endpoint}/figures"
    split = visitor.get(f"{base}/split").json()
    assert (split["kind"], split["unit"], split["final"]) == ("area", "share", False)
    shown = {one["name"]: [value for value in one["values"] if value is not None] for one in split["series"]}
    assert shown == {"fp32": [0.75, 0.75], "int8": [0.25, 0.25]}
    wanted = visitor.get(f"{base}/wanted").json()
    assert {one["name"]: one["values"][-1] for one in wanted["series"]} == {"fp32": 0.7, "int8": 0.3}
    latency = visitor.get(f"{base}/latency").json()["series"]
    assert {one["name"] for one in latency} >= {"fp32 p50", "fp32 p95"}
    assert sum(value for one in visitor.get(f"{base}/calls").json()["series"] for value in one["values"]) == 80
    assert visitor.get(f"{base}/errors").json()["series"] == []
    for period in ("24h", "7d"):
        assert visitor.get(f"{base}/split?period={period}").status_code == 200
        assert "80" in visitor.get(f"/endpoints/{endpoint}/traffic?period={period}").text
    assert visitor.get(f"{base}/nothing").status_code == 404


def test_cost_is_shown_by_variant_and_per_thousand_calls(
    visitor: TestClient, member: Member, world: World, charge: Callable[[UUID, str, str, str], None]
) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    assert "Nothing was charged this month" in visitor.get(f"/endpoints/{endpoint}/cost").text
    charge(endpoint, "fp32", "2000", "0.004")
    charge(endpoint, "int8", "500", "0.001")
    page = visitor.get(f"/endpoints/{endpoint}/cost").text
    assert "2,500" in page
    assert "USD 3.4" in page  # 8.50 for 2,500 calls
    assert "USD 4.0" in page
    days = visitor.get(f"/endpoints/{endpoint}/figures/cost").json()
    assert {one["name"]: sum(one["values"]) for one in days["series"]} == {"fp32": 8.0, "int8": 0.5}
    assert "$8.50" in visitor.get("/endpoints").text


@pytest.fixture
def charge(world: World) -> Callable[[UUID, str, str, str], None]:
    """Charge an endpoint for calls of a variant, at a price of the test's own, a moment ago."""

    def make(endpoint_id: UUID, variant: str, calls: str, price: str) -> None:
        sku, now = f"inference:test-{new_id()}", world.now()
        with world.controller.unit_of_work() as session:
            billing.set_price(session, sku, Decimal(price), now - timedelta(days=1))
        with world.app.unit_of_work(world.tenant.scope) as session:
            billing.record_usage(
                session,
                world.tenant.scope,
                project_id=world.tenant.project_id,
                source_kind="calls",
                source_id=new_id(),
                resource_kind="endpoint",
                resource_id=endpoint_id,
                resource_name="digits",
                sku=sku,
                quantity=Decimal(calls),
                from_at=now,
                to_at=now,
                detail={"variant": variant},
            )
        with world.controller.unit_of_work() as session:
            rate(session, 100, settle_seconds=0.0)

    return make


def test_an_endpoint_goes_only_when_its_name_is_typed(visitor: TestClient, member: Member, world: World) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    path, sent = f"/endpoints/{endpoint}/delete", {"csrf_token": token(visitor)}
    assert visitor.post(path, data=sent | {"typed": "other"}).status_code == 303
    assert "Nothing was deleted" in visitor.get(f"/endpoints/{endpoint}").text
    assert visitor.post(path, data=sent | {"typed": "digits"}).status_code == 303
    page = visitor.get(f"/endpoints/{endpoint}").text
    assert "Deleting" in page
    assert "delete-dialog" not in page
    world.tick()
    world.tick()
    last = visitor.get(f"/endpoints/{endpoint}/live", headers={"HX-Request": "true"})
    assert (last.status_code, "hx-trigger" in last.text) == (STOP_POLLING, False)
    assert visitor.get(f"/endpoints/{endpoint}/figures/split").json()["final"] is True
    assert f'id="endpoint-{endpoint}"' in visitor.get("/endpoints?status=deleted").text


def test_another_organizations_endpoint_is_not_there(
    visitor: TestClient, member: Member, world: World, make_member: Callable[..., Member]
) -> None:
    enter(visitor, member)
    endpoint = made(visitor, world)
    visitor.cookies.clear()
    enter(visitor, make_member())
    assert str(endpoint) not in visitor.get("/endpoints").text
    pages = [*TABS, "/live", "/traffic", "/figures/split", "/figures/cost"]
    assert {visitor.get(f"/endpoints/{endpoint}{path}").status_code for path in pages} == {404}
    assert visitor.get("/endpoints/not-an-id").status_code == 404
    sent = {
        "csrf_token": token(visitor),
        "typed": "digits",
        "seen": "1",
        "body": "{}",
        "variants.0.name": "fp32",
        "variants.0.weight": "1",
        "variants.0.model_version_id": str(new_id()),
        "instance_type": TYPE,
    }
    weights = {name: value for name, value in sent.items() if name not in {"instance_type", "body", "typed"}}
    del weights["variants.0.model_version_id"]
    for path in ("delete", "playground", "config/form", "config"):
        assert visitor.post(f"/endpoints/{endpoint}/{path}", data=sent).status_code == 404, path
    assert visitor.post(f"/endpoints/{endpoint}/weights", data=weights).status_code == 404


def test_a_viewer_looks_and_changes_nothing(
    visitor: TestClient,
    make_member: Callable[..., Member],
    make_world: Callable[[Tenant], World],  # noqa: F811 - the fixture
) -> None:
    watcher = make_member("viewer")
    enter(visitor, watcher)
    world = make_world(watcher.tenant)
    with world.app.unit_of_work(world.tenant.scope) as session:
        endpoint = create_endpoint(
            session,
            Principal(
                kind="user",
                id=new_id(),
                name="",
                organization_id=world.tenant.organization_id,
                account_id="",
                role="owner",
            ),
            project_id=world.tenant.project_id,
            name="watched",
            wanted=ConfigRequest(TYPE, 1, 1, [VariantRequest("a", world.make_version(DIGITS), Decimal(1))]),
            max_body_bytes=2**20,
            tags={},
        ).id
    for tab in TABS:
        page = visitor.get(f"/endpoints/{endpoint}{tab}")
        assert page.status_code == 200
        assert "delete-dialog" not in page.text
    assert "Your role may not call endpoints" in visitor.get(f"/endpoints/{endpoint}/playground").text
    assert visitor.get("/endpoints/new").status_code == 403
    sent = {"csrf_token": token(visitor)}
    paths = ["/endpoints/new", "/endpoints/new/form"]
    paths += [f"/endpoints/{endpoint}/{path}" for path in ("delete", "weights", "config", "config/form", "playground")]
    assert {visitor.post(path, data=sent).status_code for path in paths} == {403}
    assert {visitor.post(path, data={}).status_code for path in paths} == {403}
