"""Idempotency keys on the real application and database."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text, update
from starlette.testclient import TestClient
from starlette.types import Message

from backend.audit.models import AuditEvent
from backend.core.crypto import hash_token
from backend.core.db import Database, Doorbell, Scope
from backend.core.idempotency import IdempotencyRecord, KeyedWork, purge_expired
from backend.identity.service import authenticate_api_key
from backend.projects.models import Project
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
URL = "/api/v1/projects"


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def count_projects(database: Database, tenant: Tenant) -> int:
    with database.unit_of_work(tenant.scope) as session:
        return session.scalar(select(func.count()).select_from(Project)) or 0


def test_a_repeated_call_gets_the_first_answer_and_does_nothing(
    client: TestClient, app_database: Database, tenant: Tenant
) -> None:
    headers = key()
    first = client.post(URL, json={"name": "once"}, headers=headers)
    again = client.post(URL, json={"name": "once"}, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["content-type"] == again.headers["content-type"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count_projects(app_database, tenant) == 2


def test_an_error_is_kept_and_undoes_the_work(client: TestClient, app_database: Database, tenant: Tenant) -> None:
    headers = key()
    taken = client.post(URL, json={"name": "digits"}, headers=headers)
    again = client.post(URL, json={"name": "digits"}, headers=headers)
    assert taken.status_code == again.status_code == 409
    assert taken.content == again.content
    assert again.headers["content-type"] == "application/problem+json"
    assert again.headers["Idempotency-Replayed"] == "true"
    with app_database.unit_of_work(tenant.scope) as session:
        assert session.scalars(select(AuditEvent.action)).all() == []


def test_an_invalid_body_is_kept_too(client: TestClient) -> None:
    headers = key()
    assert client.post(URL, json={"name": ""}, headers=headers).status_code == 422
    again = client.post(URL, json={"name": ""}, headers=headers)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (422, "true")


@pytest.mark.parametrize("changed", [{"json": {"name": "two"}}, {"json": {"name": "one"}, "params": {"a": "1"}}])
def test_another_request_with_the_same_key_is_refused(client: TestClient, changed: dict[str, object]) -> None:
    headers = key()
    assert client.post(URL, json={"name": "one"}, headers=headers).status_code == 201
    other = client.post(URL, headers=headers, **changed)  # type: ignore[arg-type]  # keyword arguments of the test
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_key_belongs_to_its_principal(make_client: Clients, make_tenant: Callable[[], Tenant]) -> None:
    headers = key()
    mine = make_tenant()
    first = make_client(mine).post(URL, json={"name": "same"}, headers=headers)
    colleague = make_client(mine).post(URL, json={"name": "same"}, headers=headers)
    stranger = make_client(make_tenant()).post(URL, json={"name": "same"}, headers=headers)
    assert [first.status_code, colleague.status_code, stranger.status_code] == [201, 409, 201]
    assert first.json()["id"] != stranger.json()["id"]


def test_a_deletion_can_be_repeated(client: TestClient) -> None:
    project = client.post(URL, json={"name": "gone"}).json()["id"]
    headers = key()
    assert client.delete(f"{URL}/{project}", headers=headers).status_code == 204
    again = client.delete(f"{URL}/{project}", headers=headers)
    assert (again.status_code, again.headers["Idempotency-Replayed"], again.content) == (204, "true", b"")
    assert client.delete(f"{URL}/{project}").status_code == 404


def test_many_at_once_do_the_work_once(make_client: Clients, tenant: Tenant, app_database: Database) -> None:
    headers = key()
    client = make_client(tenant)

    def call(_number: int) -> int:
        answer = client.post(URL, json={"name": "race"}, headers=headers)
        assert answer.status_code == 201 or answer.json()["code"] == "idempotency_in_progress"
        return answer.status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(call, range(12)))
    assert 201 in statuses
    assert count_projects(app_database, tenant) == 2
    assert client.post(URL, json={"name": "race"}, headers=headers).headers["Idempotency-Replayed"] == "true"


def test_while_the_first_runs_the_second_is_told_so(
    app: FastAPI, app_database: Database, tenant: Tenant, make_key: Callable[..., str]
) -> None:
    token = make_key(tenant)
    headers = {"Authorization": f"Bearer {token}"} | key()
    with app_database.unit_of_work() as session:
        principal = authenticate_api_key(session, token)
    first = KeyedWork(app_database, app.state.security.vault, principal, headers["Idempotency-Key"], b"first")
    assert first.begin() is None
    client = TestClient(app, headers=headers)
    second = client.post(URL, json={"name": "waits"})
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    first.drop()
    assert client.post(URL, json={"name": "waits"}).status_code == 201


def test_work_and_answer_are_one_commit(
    app: FastAPI, app_database: Database, tenant: Tenant, make_key: Callable[..., str]
) -> None:
    with app_database.unit_of_work() as session:
        principal = authenticate_api_key(session, make_key(tenant))
    work = KeyedWork(app_database, app.state.security.vault, principal, "crash", b"hash")
    work.begin()
    assert work.session is not None
    work.session.add(Project(organization_id=tenant.organization_id, name="half", description=""))
    work.session.flush()
    pid = work.session.scalar(text("SELECT pg_backend_pid()"))
    # The process dies here: its connection goes, with neither work nor answer.
    with app_database.engine.connect() as other:
        assert other.scalar(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with pytest.raises(Exception, match="connection"):
        work.session.scalar(text("SELECT 1"))
    work.drop()
    assert count_projects(app_database, tenant) == 1
    with app_database.unit_of_work(tenant.scope) as session:
        assert session.scalars(select(IdempotencyRecord)).all() == []


def test_doorbells_ring_once_and_never_for_a_replay(client: TestClient, rung: list[Doorbell]) -> None:
    rung.clear()
    headers = key()
    body = {"name": "robot"}
    first = client.post("/api/v1/api-keys", json=body, headers=headers)
    again = client.post("/api/v1/api-keys", json=body, headers=headers)
    assert first.status_code == 201, first.text
    assert first.content == again.content
    assert rung == [Doorbell("endpoints.control")]


def test_a_kept_body_is_encrypted(client: TestClient, app_database: Database, tenant: Tenant) -> None:
    token = client.post("/api/v1/api-keys", json={"name": "robot"}, headers=key()).json()["token"]
    with app_database.unit_of_work(tenant.scope) as session:
        kept = session.scalars(select(IdempotencyRecord.body)).one()
    assert kept is not None
    assert token.encode() not in kept
    assert hash_token(token) not in kept


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb"])
def test_what_is_no_key_is_refused(client: TestClient, value: str) -> None:
    answer = client.post(URL, json={"name": "a"}, headers={"Idempotency-Key": value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_idempotency_key")


def test_without_a_credential_the_route_answers(app: FastAPI) -> None:
    answer = TestClient(app).post(URL, json={"name": "a"}, headers=key())
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_kept_answer_is_over_after_a_day(
    client: TestClient, controller_database: Database, app_database: Database, tenant: Tenant
) -> None:
    headers = key()
    first = client.post(URL, json={"name": "old"}, headers=headers)
    _age(controller_database, tenant.scope)
    again = client.post(URL, json={"name": "old"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 409)
    assert "Idempotency-Replayed" not in again.headers
    _age(controller_database, tenant.scope)
    with controller_database.unit_of_work() as session:
        assert purge_expired(session, limit=1000) >= 1
    with app_database.unit_of_work(tenant.scope) as session:
        assert session.scalars(select(IdempotencyRecord.id)).all() == []


def _age(database: Database, scope: Scope) -> None:
    with database.unit_of_work() as session:
        session.execute(
            update(IdempotencyRecord)
            .where(IdempotencyRecord.organization_id == scope.organization_id)
            .values(created_at=func.clock_timestamp() - timedelta(hours=25))
        )


def test_a_client_that_leaves_in_the_middle_begins_nothing(
    app: FastAPI, tenant: Tenant, make_key: Callable[..., str], app_database: Database
) -> None:
    headers = {"Authorization": f"Bearer {make_key(tenant)}", "Content-Type": "application/json"} | key()
    messages: list[Message] = [
        {"type": "http.request", "body": b'{"name": "la', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(app(scope, receive, send))
    assert sent == []
    assert count_projects(app_database, tenant) == 1
    assert TestClient(app, headers=headers).post(URL, json={"name": "late"}).status_code == 201
