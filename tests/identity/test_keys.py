"""API keys over the real API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from backend.core.crypto import Undecipherable, hash_token
from backend.core.db import Database, Doorbell
from backend.identity.keys import secret_purpose
from backend.identity.models import ApiKey, OrganizationKey
from tests.fixtures.database import Tenant
from tests.identity.conftest import Person

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
URL = "/api/v1/api-keys"


def as_key(app: ASGIApp, token: str) -> TestClient:
    return TestClient(app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)


def create(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"name": "robot"} | fields)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def test_a_key_is_told_once_works_and_is_revoked(
    app: FastAPI, client: TestClient, tenant: Tenant, app_database: Database, rung: list[Doorbell]
) -> None:
    rung.clear()
    made = create(client, role="developer", tags={"for": "ci"})
    assert made["token"].startswith("my_")
    assert made["access_key_id"].startswith("MYAK")
    assert len(made["access_key_id"]) == 20
    robot = as_key(app, made["token"])
    me = robot.get("/api/v1/me").json()
    assert (me["kind"], me["name"], me["role"], me["email"]) == ("api_key", "robot", "developer", None)
    listed = client.get(URL).text
    assert made["access_key_id"] in listed
    assert made["token"] not in listed
    assert made["secret"] not in listed
    assert client.delete(f"{URL}/{made['id']}").status_code == 204
    assert robot.get("/api/v1/me").status_code == 401
    assert client.delete(f"{URL}/{made['id']}").status_code == 204
    assert made["id"] not in client.get(URL).text
    assert made["id"] in client.get(URL, params={"include_revoked": True}).text
    assert rung == [Doorbell("endpoints.control")] * 2
    with app_database.unit_of_work(tenant.scope) as session:
        stored = session.get(ApiKey, UUID(made["id"]))
        assert stored is not None
        assert stored.token_hash == hash_token(made["token"])
        assert stored.last_used_at is not None


def test_a_secret_is_kept_encrypted_for_its_key_and_shredded_with_its_data_key(
    app: FastAPI, client: TestClient, make_tenant: Callable[[], Tenant], tenant: Tenant, app_database: Database
) -> None:
    made = create(client)
    vault, purpose = app.state.security.vault, secret_purpose(UUID(made["id"]))
    with app_database.unit_of_work(tenant.scope) as session:
        sealed = session.scalars(select(ApiKey.secret_encrypted).where(ApiKey.id == UUID(made["id"]))).one()
        assert made["secret"].encode() not in sealed
        assert vault.decrypt(session, tenant.scope, sealed, purpose=purpose).decode() == made["secret"]
        with pytest.raises(Undecipherable):
            vault.decrypt(session, tenant.scope, sealed, purpose="another")
        with pytest.raises(Undecipherable):
            vault.decrypt(session, tenant.scope, sealed[:-1], purpose=purpose)
        create(client)
        assert len(session.scalars(select(OrganizationKey.id)).all()) == 1
    other = make_tenant()
    with app_database.unit_of_work(other.scope) as session, pytest.raises(Undecipherable):
        vault.decrypt(session, other.scope, sealed, purpose=purpose)
    with app_database.unit_of_work(tenant.scope) as session:
        session.execute(update(OrganizationKey).values(destroyed_at=func.clock_timestamp(), wrapped_key=b""))
    with app_database.unit_of_work(tenant.scope) as session, pytest.raises(Undecipherable):
        vault.decrypt(session, tenant.scope, sealed, purpose=purpose)


@pytest.mark.parametrize(
    ("own", "own_scopes", "asked", "status"),
    [
        ("owner", [], {"role": "owner"}, 201),
        ("admin", [], {"role": "owner"}, 403),
        ("admin", [], {"role": "admin"}, 201),
        ("admin", [], {"role": "billing"}, 201),
        ("developer", [], {}, 201),
        ("developer", [], {"role": "viewer"}, 201),
        ("developer", [], {"role": "admin"}, 403),
        ("developer", [], {"role": "billing"}, 403),
        ("developer", [], {"role": "admin", "scopes": ["read"]}, 201),
        ("viewer", [], {}, 403),
        ("billing", [], {}, 403),
        ("owner", ["read", "write"], {}, 201),
        ("owner", ["read", "write"], {"role": "owner"}, 403),
        ("owner", ["read", "write", "invoke"], {"role": "developer"}, 201),
        ("owner", ["read", "write"], {"role": "developer"}, 403),
        ("owner", ["read", "write"], {"scopes": ["manage"]}, 403),
        ("owner", ["read"], {}, 403),
    ],
)
def test_nobody_makes_a_key_that_may_more(
    make_client: Clients, tenant: Tenant, own: str, own_scopes: list[str], asked: dict[str, Any], status: int
) -> None:
    answer = make_client(tenant, own, scopes=own_scopes).post(URL, json={"name": "robot"} | asked)
    assert answer.status_code == status, answer.text
    if status == 201 and own_scopes and "role" not in asked:
        assert answer.json()["scopes"] == own_scopes


def test_an_expired_key_opens_nothing(app: FastAPI, client: TestClient, controller_database: Database) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = create(client, expires_at=soon)
    assert as_key(app, made["token"]).get("/api/v1/me").status_code == 200
    with controller_database.unit_of_work() as session:
        session.execute(
            update(ApiKey)
            .where(ApiKey.id == UUID(made["id"]))
            .values(expires_at=func.clock_timestamp() - timedelta(seconds=1))
        )
    assert as_key(app, made["token"]).get("/api/v1/me").status_code == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a\x00"},
        {"role": "root"},
        {"scopes": ["everything"]},
        {"scopes": "read"},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "tomorrow"},
        {"expires_at": "2999-01-01T00:00:00"},
        {"expires_at": 10**30},
        {"token": "mine"},
    ],
)
def test_what_cannot_be_a_key_is_refused(client: TestClient, fields: dict[str, Any]) -> None:
    assert client.post(URL, json={"name": "robot"} | fields).status_code == 422


def test_developers_see_and_revoke_their_own_keys_only(
    client: TestClient,
    tenant: Tenant,
    make_person: Callable[..., Person],
    browser: Callable[[Person], TestClient],
) -> None:
    developer = browser(make_person(tenant, role="developer"))
    managers, own = create(client), create(developer)
    child = create(as_key(client.app, own["token"]))
    assert {item["id"] for item in developer.get(URL).json()["items"]} == {own["id"], child["id"]}
    assert developer.delete(f"{URL}/{managers['id']}").json()["code"] == "api_key_not_found"
    assert developer.delete(f"{URL}/{own['id']}").status_code == 204
    assert {managers["id"], child["id"]} <= {item["id"] for item in client.get(URL).json()["items"]}


def test_another_organization_sees_no_key(make_client: Clients, make_tenant: Callable[[], Tenant]) -> None:
    mine, stranger = make_client(make_tenant()), make_client(make_tenant())
    made = create(mine)
    assert made["id"] not in stranger.get(URL, params={"include_revoked": True}).text
    answer = stranger.delete(f"{URL}/{made['id']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "api_key_not_found")
    assert made["id"] in mine.get(URL).text


def test_keys_page(client: TestClient) -> None:
    made = [create(client, name=f"robot {number}")["id"] for number in range(3)]
    first = client.get(URL, params={"limit": 2}).json()
    second = client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in first["items"] + second["items"]][:3] == list(reversed(made))
    assert second["next_cursor"] is None
