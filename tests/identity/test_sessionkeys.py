"""A session's own key to endpoints: whose it is, what it may do, when it ends."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.core.crypto import hash_token
from backend.core.db import Database
from backend.core.errors import Forbidden, Unauthorized
from backend.identity.authentication import authenticate_session
from backend.identity.models import ApiKey, LoginSession
from backend.identity.sessionkeys import LIFETIME, SessionKey, open_session_key
from tests.fixtures.database import Tenant
from tests.identity.conftest import PASSWORD, Person

pytestmark = pytest.mark.integration
MakePerson = Callable[..., Person]
Browser = Callable[[Person], TestClient]
Opened = Callable[[TestClient], SessionKey]


@pytest.fixture
def opened(app: FastAPI, app_database: Database) -> Opened:
    """The key of a browser's session, as the dashboard opens it."""

    def make(client: TestClient) -> SessionKey:
        token = client.cookies["modelyard_session"]
        with app_database.unit_of_work() as session:
            return open_session_key(session, app.state.security, authenticate_session(session, token), token)

    return make


def key_row(database: Database, tenant: Tenant, key: SessionKey) -> ApiKey:
    with database.unit_of_work(tenant.scope) as session:
        return session.scalars(select(ApiKey).where(ApiKey.id == key.key_id)).one()


def test_it_invokes_and_nothing_else_and_stands_in_no_list(
    app: FastAPI, tenant: Tenant, make_person: MakePerson, browser: Browser, opened: Opened, app_database: Database
) -> None:  # fmt: skip
    client = browser(make_person(tenant, role="admin"))
    key = opened(client)
    assert opened(client) == key
    row = key_row(app_database, tenant, key)
    assert row.token_hash == hash_token(key.token)
    assert (row.role, row.scopes) == ("admin", ["invoke"])
    assert row.expires_at is not None
    assert row.expires_at - row.created_at <= LIFETIME
    program = TestClient(app, headers={"Authorization": f"Bearer {key.token}"})
    assert program.get("/api/v1/projects").status_code == 403
    assert program.post("/api/v1/projects", json={"name": "x"}).status_code == 403
    assert client.get("/api/v1/api-keys").json()["items"] == []


def test_two_sessions_of_one_person_have_two_keys(
    tenant: Tenant, make_person: MakePerson, browser: Browser, opened: Opened
) -> None:
    person = make_person(tenant)
    assert opened(browser(person)).token != opened(browser(person)).token


def test_it_never_outlives_its_session(
    tenant: Tenant, make_person: MakePerson, browser: Browser, opened: Opened, controller_database: Database
) -> None:
    client = browser(make_person(tenant))
    with controller_database.unit_of_work() as session:
        session.execute(
            update(LoginSession)
            .where(LoginSession.organization_id == tenant.organization_id)
            .values(expires_at=func.clock_timestamp() + timedelta(minutes=2))
        )
    key = opened(client)
    with controller_database.unit_of_work() as session:
        row = session.get_one(ApiKey, key.key_id)
        assert row.expires_at == session.scalar(
            select(LoginSession.expires_at).where(LoginSession.id == row.session_id)
        )
    assert opened(client) == key


@pytest.mark.parametrize("act", ["log out", "change the password elsewhere", "remove the member", "lower the role"])
def test_it_ends_with_what_it_stands_on(
    tenant: Tenant, make_person: MakePerson, browser: Browser, opened: Opened, app_database: Database, act: str
) -> None:  # fmt: skip
    owner, person = make_person(tenant), make_person(tenant, role="developer")
    client = browser(person)
    key = opened(client)
    assert key_row(app_database, tenant, key).revoked_at is None
    if act == "log out":
        client.delete("/api/v1/session")
    elif act == "change the password elsewhere":
        changed = {"current_password": PASSWORD, "new_password": "another horse battery"}
        assert browser(person).post("/api/v1/me/password", json=changed).status_code < 300
    elif act == "remove the member":
        assert browser(owner).delete(f"/api/v1/members/{person.user_id}").status_code < 300
    else:
        lowered = browser(owner).patch(f"/api/v1/members/{person.user_id}", json={"role": "viewer"})
        assert lowered.status_code < 300, lowered.text
    assert key_row(app_database, tenant, key).revoked_at is not None


def test_who_may_not_invoke_gets_none(
    tenant: Tenant, make_person: MakePerson, browser: Browser, opened: Opened
) -> None:  # fmt: skip
    with pytest.raises(Forbidden):
        opened(browser(make_person(tenant, role="viewer")))


def test_another_ones_session_makes_none(
    app: FastAPI, tenant: Tenant, make_person: MakePerson, browser: Browser, app_database: Database
) -> None:
    mine, other = browser(make_person(tenant)), browser(make_person(tenant))
    with app_database.unit_of_work() as session:
        principal = authenticate_session(session, mine.cookies["modelyard_session"])
        with pytest.raises(Unauthorized):
            open_session_key(session, app.state.security, principal, other.cookies["modelyard_session"])
