"""Log-in, sessions and their end, over the real API."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select, update
from starlette.testclient import TestClient

from backend.core.crypto import hash_token
from backend.core.db import Database
from backend.identity.errors import TooManyAttempts
from backend.identity.limiter import PER_ACCOUNT_AND_ADDRESS, WINDOW_SECONDS, LoginLimiter
from backend.identity.models import LoginSession, Membership, User
from tests.fixtures.database import Tenant
from tests.identity.conftest import OWN_PAGE, PASSWORD, Person

pytestmark = pytest.mark.integration
MakePerson = Callable[..., Person]
Browser = Callable[[Person], TestClient]


def test_log_in_says_who_you_are_and_log_out_ends_it(
    app: FastAPI, tenant: Tenant, make_person: MakePerson, app_database: Database
) -> None:
    person = make_person(tenant, role="developer")
    client = TestClient(app, headers=OWN_PAGE)
    answer = client.post("/api/v1/session", json={"email": person.email.upper(), "password": PASSWORD})
    assert answer.status_code == 201
    assert answer.json()["role"] == "developer"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    me = client.get("/api/v1/me").json()
    assert (me["kind"], me["email"], me["permissions"]) == ("user", person.email, ["invoke", "read", "write"])
    assert me["organization"]["id"] == str(tenant.organization_id)
    assert len(me["organization"]["account_id"]) == 12
    token = client.cookies["modelyard_session"]
    with app_database.unit_of_work(tenant.scope) as session:
        assert session.scalars(select(LoginSession.token_hash)).all() == [hash_token(token)]
    assert client.delete("/api/v1/session").status_code == 204
    stolen = TestClient(app, headers={"Cookie": f"modelyard_session={token}"})
    assert stolen.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("wrong", ["password", "email", "both", "nul"])
def test_what_is_wrong_is_not_said(app: FastAPI, tenant: Tenant, make_person: MakePerson, wrong: str) -> None:
    person = make_person(tenant)
    email = person.email if wrong == "password" else f"{uuid4()}@example.org"
    answer = TestClient(app).post(
        "/api/v1/session", json={"email": "a\x00b" if wrong == "nul" else email, "password": "wrong"}
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credentials")
    assert answer.json()["detail"] == "this e-mail address and this password do not match"


def test_guessing_is_slowed_down(app: FastAPI, tenant: Tenant, make_person: MakePerson) -> None:
    client, person = TestClient(app), make_person(tenant)
    body = {"email": person.email, "password": "wrong"}
    for _ in range(PER_ACCOUNT_AND_ADDRESS):
        assert client.post("/api/v1/session", json=body).status_code == 401
    answer = client.post("/api/v1/session", json=body | {"password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_SECONDS + 1
    app.state.security.limiter.succeeded(person.email, "testclient")


def test_a_limiter_forgets_after_its_window_and_at_success() -> None:
    now = [0.0]
    limiter = LoginLimiter(lambda: now[0])
    for _ in range(PER_ACCOUNT_AND_ADDRESS):
        limiter.attempt("a@b", "1.2.3.4")
    with pytest.raises(TooManyAttempts) as refused:
        limiter.attempt("A@b ", "1.2.3.4")
    assert refused.value.extra["retry_after_seconds"] == WINDOW_SECONDS + 1
    limiter.attempt("a@b", "5.6.7.8")
    limiter.attempt("c@d", "1.2.3.4")
    limiter.succeeded("a@b", "1.2.3.4")
    limiter.attempt("a@b", "1.2.3.4")
    for _ in range(PER_ACCOUNT_AND_ADDRESS - 1):
        limiter.attempt("a@b", "1.2.3.4")
    now[0] = WINDOW_SECONDS
    limiter.attempt("a@b", "1.2.3.4")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-Requested-With": ""}, 403),
        ({"X-Requested-With": "fetch"}, 201),
        ({"X-CSRF-Token": "any"}, 201),
        ({"X-Requested-With": "fetch", "Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}, 201),
        ({"X-Requested-With": "fetch", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Requested-With": "fetch", "Sec-Fetch-Site": "same-site"}, 403),
        ({"X-Requested-With": "fetch", "Origin": "https://evil.example"}, 403),
        ({"X-Requested-With": "fetch", "Origin": "null"}, 403),
    ],
)
def test_a_cookie_alone_changes_nothing(
    browser: Browser, tenant: Tenant, make_person: MakePerson, headers: dict[str, str], status: int
) -> None:
    client = browser(make_person(tenant))
    del client.headers["X-Requested-With"]
    answer = client.post("/api/v1/projects", json={"name": "csrf"}, headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "cross_site_request"
        assert client.get("/api/v1/projects", headers=headers).status_code == 200


def test_another_site_cannot_log_you_in(app: FastAPI, tenant: Tenant, make_person: MakePerson) -> None:
    answer = TestClient(app).post(
        "/api/v1/session",
        json={"email": make_person(tenant).email, "password": PASSWORD},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site_request")
    assert "set-cookie" not in answer.headers


def test_a_session_ends_at_its_time(
    browser: Browser, tenant: Tenant, make_person: MakePerson, controller_database: Database
) -> None:
    client = browser(make_person(tenant))
    with controller_database.unit_of_work() as session:
        session.execute(
            update(LoginSession)
            .where(LoginSession.organization_id == tenant.organization_id)
            .values(expires_at=func.clock_timestamp() - timedelta(seconds=1))
        )
    assert client.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("end", ["membership", "account"])
def test_a_session_ends_with_membership_or_account(
    browser: Browser, tenant: Tenant, make_person: MakePerson, controller_database: Database, end: str
) -> None:
    person = make_person(tenant)
    client = browser(person)
    with controller_database.unit_of_work() as session:
        if end == "membership":
            session.execute(delete(Membership).where(Membership.user_id == person.user_id))
        else:
            session.execute(update(User).where(User.id == person.user_id).values(disabled_at=func.clock_timestamp()))
    assert client.get("/api/v1/me").status_code == 401
    answer = client.post("/api/v1/session", json={"email": person.email, "password": PASSWORD})
    assert answer.json()["code"] == "wrong_credentials"


def test_a_member_of_two_organizations_chooses(
    app: FastAPI, make_tenant: Callable[[], Tenant], make_person: MakePerson
) -> None:
    first, second, foreign = make_tenant(), make_tenant(), make_tenant()
    person = make_person(first, second)
    body = {"email": person.email, "password": PASSWORD}
    client = TestClient(app)
    assert client.post("/api/v1/session", json=body).json()["organization_id"] == str(first.organization_id)
    chosen = client.post("/api/v1/session", json=body | {"organization_id": str(second.organization_id)})
    assert chosen.json()["organization_id"] == str(second.organization_id)
    assert client.get("/api/v1/projects").json()["items"][0]["id"] == str(second.project_id)
    refused = client.post("/api/v1/session", json=body | {"organization_id": str(foreign.organization_id)})
    assert (refused.status_code, refused.json()["code"]) == (401, "wrong_credentials")


def test_a_new_password_ends_the_other_sessions_everywhere(
    app: FastAPI, browser: Browser, make_tenant: Callable[[], Tenant], make_person: MakePerson
) -> None:
    first, second = make_tenant(), make_tenant()
    person = make_person(first, second)
    mine, other = browser(person), browser(person)
    elsewhere = TestClient(app, headers=OWN_PAGE)
    elsewhere.post(
        "/api/v1/session",
        json={"email": person.email, "password": PASSWORD, "organization_id": str(second.organization_id)},
    )
    assert elsewhere.get("/api/v1/me").status_code == 200
    url, new = "/api/v1/me/password", "another long password"
    wrong = mine.post(url, json={"current_password": "wrong", "new_password": new})
    assert wrong.json()["code"] == "wrong_credentials"
    assert mine.post(url, json={"current_password": PASSWORD, "new_password": "short"}).status_code == 422
    assert mine.post(url, json={"current_password": PASSWORD, "new_password": new}).status_code == 204
    assert [client.get("/api/v1/me").status_code for client in (mine, other, elsewhere)] == [200, 401, 401]
    log_in = {"email": person.email, "password": PASSWORD}
    assert TestClient(app).post("/api/v1/session", json=log_in).status_code == 401
    assert TestClient(app).post("/api/v1/session", json=log_in | {"password": new}).status_code == 201


def test_an_api_key_has_no_password(client: TestClient) -> None:
    answer = client.post("/api/v1/me/password", json={"current_password": "x", "new_password": "y" * 10})
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credentials")


def test_when_all_turns_are_taken_a_log_in_is_told_to_come_back(
    app: FastAPI, tenant: Tenant, make_person: MakePerson
) -> None:
    person, passwords = make_person(tenant), app.state.security.passwords
    body = {"email": person.email, "password": PASSWORD}
    with ExitStack() as turns:
        for _ in range(4):
            turns.enter_context(passwords.turn())
        answer = TestClient(app).post("/api/v1/session", json=body)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "busy", "1")
    assert TestClient(app).post("/api/v1/session", json=body).status_code == 201
