"""The playground asks a real replica through a real gateway, and is metered as everybody is."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from backend.core.crypto import LocalKms
from backend.core.settings import GatewaySettings
from backend.identity.keys import make_key
from backend.identity.models import ApiKey
from backend.identity.vault import Vault
from frontend.backstage import Backstage
from frontend.views.playground import example, snippets
from tests.endpoints.conftest import World, control_context, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.frontend.conftest import Member
from tests.frontend.endpoints import DIGITS, SIDE, Plane, serving_plane
from tests.frontend.test_dashboard import enter
from tests.frontend.test_endpoints import made, token
from tests.serving.plane import ROOT, Client, until, usage

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def world(make_world: Callable[[Tenant], World], member: Member) -> World:  # noqa: F811 - the fixture
    return make_world(member.tenant)


@pytest.fixture
def visitor(site: FastAPI, member: Member) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        enter(client, member)
        yield client


@pytest.fixture
def endpoint(visitor: TestClient, world: World) -> UUID:
    return made(visitor, world)


@pytest.fixture
def plane(world: World, endpoint: UUID, site: FastAPI, tmp_path: Path) -> Iterator[Plane]:
    """The endpoint behind a gateway that the dashboard knows."""
    with serving_plane(world, endpoint, tmp_path) as found:
        reach(site, found.settings)
        yield found


def reach(site: FastAPI, gateway: GatewaySettings) -> None:
    """Tell the dashboard where its gateway is."""
    dashboard = site.router.routes[-1].app  # type: ignore[attr-defined] # the mount of the dashboard
    back: Backstage = dashboard.state.backstage
    dashboard.state.backstage = replace(back, settings=back.settings.model_copy(update={"gateway": gateway}))


def keys_of(world: World) -> list[ApiKey]:
    """The tenant's keys of sessions."""
    with world.app.unit_of_work(world.tenant.scope) as session:
        found = session.scalars(select(ApiKey).where(ApiKey.session_id.is_not(None)).order_by(ApiKey.created_at))
        return list(found)


def run_snippets(world: World, plane: Plane) -> None:
    """What the snippets' page offers does what it says."""
    with world.app.unit_of_work(world.tenant.scope) as session:
        key = make_key(
            session,
            Vault(LocalKms("A" * 43 + "=")),
            world.tenant.scope,
            name="snippets",
            role="developer",
            scopes=(),
            created_by=None,
            expires_at=None,
            tags={},
        )
    plane.sync()
    address = f"http://127.0.0.1:{plane.gateway.port}"
    environment = {**os.environ, "MODELYARD_API_KEY": key.token, "PYTHONPATH": str(ROOT)}
    for one in snippets("digits", address, f"127.0.0.1:{plane.grpc.port}", DIGITS):
        if one.key != "cli":
            command = ["bash", "-c"] if one.key in {"curl", "sagemaker"} else [sys.executable, "-c"]
            done = subprocess.run(
                [*command, one.text], env=environment, capture_output=True, text=True, timeout=30, check=True
            )
            assert re.search(r"\b0\.", done.stdout), (one.key, done.stdout, done.stderr)
        else:
            assert "digits" in one.text


def bright(row: int) -> str:
    """A request: a picture with one bright row."""
    pixels = [255 if at // SIDE == row else 0 for at in range(SIDE * SIDE)]
    entry = {"name": "image", "shape": [1, 1, SIDE, SIDE], "datatype": "UINT8", "data": pixels}
    return json.dumps({"inputs": [entry]})


def refusals_are_explained(visitor: TestClient, path: str, sent: dict[str, str]) -> None:
    """What the protocol refuses is said with what it means."""
    refused = {
        example(DIGITS).replace('"image"', '"picture"'): "Refused with 400",
        "not JSON": "Refused with 400",
        json.dumps({"inputs": []}): "Refused with 400",
    }
    for body, said in refused.items():
        assert said in visitor.post(path, data=sent | {"body": body}).text
    assert "Nothing was sent" in visitor.post(path, data=sent | {"body": ""}, headers={"HX-Request": "true"}).text
    unknown = visitor.post(path, data=sent | {"variant": "other"}).text
    assert "unknown variant" in unknown
    assert visitor.post(path, data=sent | {"sticky_key": "line\r\nbreak"}).status_code == 422


def test_a_person_asks_and_is_metered(visitor: TestClient, world: World, endpoint: UUID, plane: Plane) -> None:
    path = f"/endpoints/{endpoint}/playground"
    assert "data-canvas" in visitor.get(path).text
    (key,) = keys_of(world)
    assert (key.role, key.scopes, key.session_id is not None) == ("owner", ["invoke"], True)
    plane.sync()
    # The hash alone makes no token: who reads the database cannot call.
    with Client(plane.gateway.port, key.token_hash.hex()) as stranger:
        assert stranger.ask("GET", "/v2/models/digits/ready")[0] == 401
    sent = {"csrf_token": token(visitor), "body": bright(15), "variant": "int8"}
    answer = visitor.post(path, data=sent, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert '<p class="answer-best">5 ' in answer.text
    assert "<dd>int8</dd>" in answer.text
    assert answer.text.count("<progress") == 10
    whole = visitor.post(path, data=sent | {"sticky_key": "me"})
    assert "answer-best" in whole.text
    until(lambda: sum(line.calls for line in usage(plane.folder / "r")) == 2, 5)
    assert {line.key_id for line in usage(plane.folder / "r")} == {str(key.id)}
    assert {bucket for line in usage(plane.folder / "r") for bucket in line.latency}
    assert len(keys_of(world)) == 1

    refusals_are_explained(visitor, path, sent)
    run_snippets(world, plane)

    # Logged out, the session's key goes too, and gateways hear of it.
    visitor.post("/logout", data={"csrf_token": token(visitor)})
    assert keys_of(world)[0].revoked_at is not None
    plane.sync()
    assert str(key.id) not in {one.key_id for one in plane.routes.snapshot.keys}


def test_a_key_that_is_about_to_expire_is_renewed(visitor: TestClient, world: World, endpoint: UUID) -> None:
    path = f"/endpoints/{endpoint}/playground"
    visitor.get(path)
    visitor.get(path)
    assert len(keys_of(world)) == 1
    with world.controller.unit_of_work() as session:
        session.execute(
            update(ApiKey)
            .where(ApiKey.organization_id == world.tenant.organization_id)
            .values(expires_at=func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 4))
        )
    visitor.get(path)
    assert len(keys_of(world)) == 2


def test_without_a_gateway_the_page_says_so(visitor: TestClient, site: FastAPI, endpoint: UUID) -> None:
    reach(site, GatewaySettings(port=9))
    sent = {"csrf_token": token(visitor), "body": example(DIGITS)}
    answer = visitor.post(f"/endpoints/{endpoint}/playground", data=sent)
    assert answer.status_code == 200
    assert "No gateway answered" in answer.text
