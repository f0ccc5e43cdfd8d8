"""The routing table: what gateways get, when its version grows, and who may read it."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.exc import ProgrammingError
from starlette.testclient import TestClient

from backend.core import wire
from backend.core.db import Database
from backend.endpoints.models import RouteTable
from backend.identity.models import ApiKey
from tests.endpoints.conftest import World
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
URL = "/api/v1/endpoints"
ROUTES = "/gateway/v1/routes"


def snapshot(gateway: TestClient) -> wire.RouteSnapshot:
    answer = gateway.get(ROUTES)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=wire.RouteSnapshot)


def route(gateway: TestClient, endpoint_id: str) -> wire.Route | None:
    return next((one for one in snapshot(gateway).routes if one.endpoint_id == endpoint_id), None)


def create(client: TestClient, world: World, **other: Any) -> str:
    endpoint_id: str = client.post(URL, json=world.body(**other)).json()["id"]
    return endpoint_id


def test_an_endpoint_has_a_route_from_in_service_to_deletion(
    client: TestClient, gateway: TestClient, world: World
) -> None:
    endpoint_id = create(client, world, max_body_bytes=4096)
    world.tick()
    assert route(gateway, endpoint_id) is None
    (replica,) = world.bring_up(endpoint_id)
    found = route(gateway, endpoint_id)
    assert found is not None
    assert (found.organization_id, found.endpoint_name, found.max_body_bytes) == (
        str(world.tenant.organization_id),
        "digits",
        4096,
    )
    assert [(one.name, one.weight) for one in found.variants] == [("fp32", 70.0), ("int8", 30.0)]
    assert found.replicas == [wire.RouteReplica(replica_id=str(replica.id), socket_path=f"/run/{replica.id}.sock")]
    client.delete(f"{URL}/{endpoint_id}")
    world.tick()
    assert route(gateway, endpoint_id) is None


def test_weights_change_the_route_and_nothing_else(client: TestClient, gateway: TestClient, world: World) -> None:
    endpoint_id = create(client, world)
    world.bring_up(endpoint_id)
    before = route(gateway, endpoint_id)
    client.patch(f"{URL}/{endpoint_id}/weights", json={"weights": {"fp32": 0}})
    world.tick()
    after = route(gateway, endpoint_id)
    assert before is not None
    assert after is not None
    assert after.replicas == before.replicas
    assert [one.weight for one in after.variants] == [0.0, 30.0]


def test_a_draining_replica_is_out_of_the_table_at_once(client: TestClient, gateway: TestClient, world: World) -> None:
    endpoint_id = create(client, world)
    world.bring_up(endpoint_id)
    config = {key: value for key, value in world.body().items() if key in ("instance_type", "variants")}
    client.put(f"{URL}/{endpoint_id}/config", json=config)
    (old,) = world.replicas(endpoint_id)
    world.bring_up(endpoint_id)
    (new,) = world.replicas(endpoint_id, "in_service")
    found = route(gateway, endpoint_id)
    assert found is not None
    assert [one.replica_id for one in found.replicas] == [str(new.id)]
    assert new.id != old.id


def test_the_version_grows_only_with_a_change(client: TestClient, gateway: TestClient, world: World) -> None:
    endpoint_id = create(client, world)
    world.bring_up(endpoint_id)
    version = snapshot(gateway).version
    for _ in range(3):
        world.tick()
    assert snapshot(gateway).version == version
    assert gateway.get(ROUTES, params={"version": version}).status_code == 204
    assert gateway.get(ROUTES, params={"version": version - 1}).status_code == 200
    client.patch(f"{URL}/{endpoint_id}/weights", json={"weights": {"fp32": 1}})
    world.tick()
    assert snapshot(gateway).version == version + 1


def test_keys_come_and_go_with_their_validity(
    client: TestClient, gateway: TestClient, world: World, make_key: Callable[..., str]
) -> None:
    endpoint_id = create(client, world)
    world.bring_up(endpoint_id)
    expires = world.now() + timedelta(hours=1)
    token = make_key(world.tenant, "developer", expires_at=expires)
    gone = make_key(world.tenant, "developer", expires_at=world.now() - timedelta(seconds=1))
    world.tick()
    keys = {key.token_sha256: key for key in snapshot(gateway).keys}
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert keys[digest].organization_id == str(world.tenant.organization_id)
    assert keys[digest].expires_at == pytest.approx(expires.timestamp())
    assert hashlib.sha256(gone.encode()).hexdigest() not in keys
    with world.controller.unit_of_work() as session:
        session.execute(
            update(ApiKey).where(ApiKey.token_hash == bytes.fromhex(digest)).values(revoked_at=func.clock_timestamp())
        )
    world.tick()
    assert digest not in {key.token_sha256 for key in snapshot(gateway).keys}


@pytest.mark.parametrize(
    ("role", "scopes", "known"),
    [
        ("owner", [], True),
        ("developer", [], True),
        ("viewer", [], False),
        ("billing", [], False),
        ("developer", ["invoke"], True),
        ("owner", ["read", "write"], False),
        ("viewer", ["invoke"], False),
    ],
)
def test_only_keys_that_may_invoke_are_known_to_gateways(
    gateway: TestClient,
    world: World,
    client: TestClient,
    make_key: Callable[..., str],
    role: str,
    scopes: list[str],
    known: bool,  # noqa: FBT001 - parametrized
) -> None:
    world.bring_up(create(client, world))
    token = make_key(world.tenant, role, scopes=scopes)
    world.tick()
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert (digest in {key.token_sha256 for key in snapshot(gateway).keys}) is known


def test_keys_of_an_organization_without_endpoints_are_known_too(
    gateway: TestClient, world: World, make_key: Callable[..., str], make_tenant: Callable[[], Tenant]
) -> None:
    stranger = make_tenant()
    token = make_key(stranger)
    world.tick()
    owners = {key.token_sha256: key.organization_id for key in snapshot(gateway).keys}
    assert owners[hashlib.sha256(token.encode()).hexdigest()] == str(stranger.organization_id)


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer wrong", "Basic wrong"])
def test_only_a_gateway_reads_routes(app: FastAPI, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = TestClient(app).get(ROUTES, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "gateway_token_unknown")


def test_an_api_key_is_no_gateway(client: TestClient) -> None:
    assert client.get(ROUTES).status_code == 401


def test_the_app_role_does_not_read_the_table_itself(app_database: Database, tenant: Tenant) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), app_database.unit_of_work(tenant.scope) as session:
        session.scalars(select(RouteTable)).all()
