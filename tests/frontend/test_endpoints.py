"""The endpoints' pages over real rows: list, form, tabs, changes, deletion."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.core import wire
from backend.core.ids import new_id
from backend.endpoints.segments import accept_segment
from backend.endpoints.service import get_endpoint
from frontend.pages.jobs import STOP_POLLING
from tests.endpoints.conftest import TYPE, World, control_context, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.frontend.conftest import Member
from tests.frontend.endpoints import DIGITS
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
    assert 'hx-trigger="every 3s"' in listed
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


def call_lines(world: World, replica: Any, lines: list[dict[str, Any]]) -> None:
    """Deliver a usage segment as the replica's agent does."""
    assignment = world.assignment(replica)
    spec = msgspec_convert(assignment.spec)
    segment_id = new_id()
    header = {
        "segment_id": str(segment_id),
        "replica_id": spec.replica_id,
        "endpoint_id": spec.endpoint_id,
        "opened_at": 1.0,
    }
    content = b"\n".join(json.dumps(one).encode() for one in [header, *lines]) + b"\n"
    with world.app.unit_of_work(world.tenant.scope) as session:
        accept_segment(session, world.tenant.scope, assignment, segment_id, content)


def msgspec_convert(spec: Any) -> wire.ReplicaSpec:
    import msgspec  # noqa: PLC0415

    return msgspec.convert(spec, wire.ReplicaSpec)
