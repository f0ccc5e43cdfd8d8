"""An endpoint is in service once the living gateways have applied its route; nobody waits for one that is down."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import ProgrammingError
from starlette.testclient import TestClient

from backend.core.db import Database, Doorbell
from backend.endpoints import routing
from backend.endpoints.models import Endpoint, Gateway, RouteTable
from backend.endpoints.service import CONTROL
from tests.endpoints.conftest import World

pytestmark = pytest.mark.integration
URL = "/api/v1/endpoints"


def tell(gateway: TestClient, version: int) -> None:
    """The gateway says that it has applied this version."""
    assert gateway.get("/gateway/v1/routes", params={"version": version}).status_code in (200, 204)


def current(world: World) -> int:
    """The version of the routing table."""
    with world.controller.unit_of_work() as session:
        return session.scalars(select(RouteTable.version)).one()


def row_of(world: World, gateway: TestClient) -> Gateway:
    """The gateway as Postgres remembers it."""
    with world.controller.unit_of_work() as session:
        return session.scalars(select(Gateway).where(Gateway.token_hash == digest(gateway))).one()


def digest(gateway: TestClient) -> bytes:
    """The hash of its token."""
    return hashlib.sha256(gateway.headers["authorization"].removeprefix("Bearer ").encode()).digest()


def built_earlier(world: World, seconds: float) -> None:
    """The routing table is so much older."""
    with world.controller.unit_of_work() as session:
        session.execute(update(RouteTable).values(built_at=RouteTable.built_at - timedelta(seconds=seconds)))


@pytest.fixture
def endpoint_id(client: TestClient, world: World) -> str:
    """An endpoint whose replicas are not there yet; the routing table exists."""
    world.tick()
    made: str = client.post(URL, json=world.body()).json()["id"]
    return made


def test_an_endpoint_waits_until_a_gateway_has_applied_its_route(
    gateway: TestClient, world: World, endpoint_id: str
) -> None:
    before = current(world)
    tell(gateway, before)
    world.bring_up(endpoint_id)
    endpoint = world.detail(endpoint_id).endpoint
    assert (endpoint.status, endpoint.in_service_at) == ("creating", None)
    assert endpoint.status_reason == "1 of 1 replicas in service; the gateways are being told"
    assert endpoint.route_version == current(world) == before + 1
    assert endpoint.due_at is not None
    assert endpoint.due_at <= world.now(), "the next doorbell must find it due"
    tell(gateway, before)  # it reads the new table, and has not applied it
    world.tick()
    assert world.status(endpoint_id) == "creating"
    tell(gateway, before + 1)
    world.tick()
    endpoint = world.detail(endpoint_id).endpoint
    assert endpoint.status == "in_service"
    assert endpoint.in_service_at is not None


def test_an_update_waits_for_the_route_of_the_new_config(
    client: TestClient, gateway: TestClient, world: World, endpoint_id: str
) -> None:
    world.bring_up(endpoint_id)
    assert world.status(endpoint_id) == "in_service"
    tell(gateway, current(world))
    config = {key: value for key, value in world.body().items() if key in ("instance_type", "variants")}
    client.put(f"{URL}/{endpoint_id}/config", json=config)
    world.bring_up(endpoint_id)
    world.tick()
    assert world.status(endpoint_id) == "updating"
    tell(gateway, current(world))
    world.tick()
    assert world.status(endpoint_id) == "in_service"


def test_every_living_gateway_must_know(make_gateway: Callable[[], TestClient], world: World, endpoint_id: str) -> None:
    quick, slow = make_gateway(), make_gateway()
    tell(slow, current(world))
    world.bring_up(endpoint_id)
    tell(quick, current(world))
    world.tick()
    assert world.status(endpoint_id) == "creating"
    tell(slow, current(world))
    world.tick()
    assert world.status(endpoint_id) == "in_service"


def test_a_gateway_that_is_silent_is_not_waited_for(gateway: TestClient, world: World, endpoint_id: str) -> None:
    tell(gateway, -1)
    with world.controller.unit_of_work() as session:
        past = func.clock_timestamp() - routing.SEEN_WITHIN
        session.execute(update(Gateway).where(Gateway.token_hash == digest(gateway)).values(seen_at=past))
    world.bring_up(endpoint_id)
    assert world.status(endpoint_id) == "in_service"


def test_a_gateway_that_never_follows_holds_an_endpoint_up_for_ten_seconds(
    gateway: TestClient, world: World, endpoint_id: str
) -> None:
    tell(gateway, -1)
    world.bring_up(endpoint_id)
    world.later(8, "ready_at")
    built_earlier(world, 8)
    world.tick()
    assert world.status(endpoint_id) == "creating"
    world.later(2, "ready_at")
    built_earlier(world, 2)
    world.tick()
    assert world.status(endpoint_id) == "in_service"


def test_a_controller_that_was_away_gives_gateways_their_time_from_its_return(
    gateway: TestClient, world: World, endpoint_id: str
) -> None:
    tell(gateway, current(world))
    world.bring_up(endpoint_id)
    world.later(30, "ready_at")
    world.tick()
    assert world.status(endpoint_id) == "creating", "the route is in a table that was built only now"
    tell(gateway, current(world))
    world.tick()
    assert world.status(endpoint_id) == "in_service"


def test_what_a_gateway_says_is_remembered_and_news_ring(gateway: TestClient, world: World) -> None:
    rung: list[Doorbell] = []

    def ring(doorbells: Sequence[Doorbell]) -> None:
        rung.extend(doorbells)

    database = Database(world.app.engine, ring)
    for version, bells in ((3, 1), (3, 1), (4, 2), (2, 3)):
        with database.unit_of_work() as session:
            routing.read_routes(session, digest(gateway), version)
        row = row_of(world, gateway)
        assert row.known_version == version
        assert row.seen_at is not None
        assert timedelta(0) <= world.now() - row.seen_at < timedelta(seconds=5)
        assert rung == [CONTROL] * bells


def test_a_wrong_token_tells_nothing(client: TestClient, gateway: TestClient, world: World) -> None:
    tell(gateway, 7)
    assert client.get("/gateway/v1/routes", params={"version": 9}).status_code == 401
    with world.controller.unit_of_work() as session:
        known = session.scalars(select(Gateway.known_version)).all()
    assert 7 in known
    assert 9 not in known


def test_the_app_role_writes_no_gateway_itself(app_database: Database) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), app_database.unit_of_work() as session:
        session.execute(text("UPDATE gateways SET known_version = 9"))


def test_a_row_that_somebody_holds_stops_no_table(world: World, client: TestClient, endpoint_id: str) -> None:
    world.bring_up(endpoint_id)
    weights: dict[str, Any] = {"weights": {"fp32": 1}}
    client.patch(f"{URL}/{endpoint_id}/weights", json=weights)
    with world.controller.unit_of_work() as session:
        session.execute(update(Endpoint).where(Endpoint.id == UUID(endpoint_id)).values(route_version=None))
    with world.controller.unit_of_work() as holder:
        holder.scalars(select(Endpoint).where(Endpoint.id == UUID(endpoint_id)).with_for_update()).one()
        with world.controller.unit_of_work() as session:
            session.execute(text("SET LOCAL lock_timeout = '2s'"))
            routing.publish_routes(session)
    assert world.detail(endpoint_id).endpoint.route_version is None
    world.tick()
    assert world.detail(endpoint_id).endpoint.route_version is not None
