"""Every operation of the OpenAPI document as every kind of credential: the isolation matrix, derived, not listed.

New routes join by themselves; one with a body needs an entry in `estate`. What is expected follows from the
permission that the route declares (`matrix`).
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.identity.conftest import OWN_PAGE, PASSWORD, Person
from tests.security.estate import API, MUTATING, Estate, Operation, operations
from tests.security.matrix import NARROWED, NOBODIES, ROLES, cells, expected, kept

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
PUBLIC = {"POST /api/v1/session": "whoever logs in has no credential yet"}
ANY_CREDENTIAL = {
    "GET /api/v1/me": "tells a caller what it is",
    "DELETE /api/v1/session": "ends the caller's own session",
    "POST /api/v1/me/password": "changes the caller's own password",
}


@pytest.fixture
def make_caller(
    *,
    app: FastAPI,
    make_client: Callable[..., TestClient],
    make_tenant: Callable[[], Tenant],
    make_person: Callable[..., Person],
    make_gateway: Callable[[], TestClient],
    ready_instance: Callable[..., Hand],
) -> Callable[[Estate, str], TestClient]:
    """A client with one of the matrix's credentials of an estate's organization."""
    yesterday = datetime.now(UTC) - timedelta(days=1)

    def bearer(token: str) -> TestClient:
        return TestClient(app, headers={"Authorization": token}, raise_server_exceptions=False)

    def make(estate: Estate, credential: str) -> TestClient:
        tenant = estate.tenant
        if credential in ROLES:
            return make_client(tenant, credential)
        if credential in NARROWED:
            return make_client(tenant, "owner", scopes=NARROWED[credential])
        makers: dict[str, Callable[[], TestClient]] = {
            "none": make_client,
            "garbage": lambda: bearer("Bearer my_unknown"),
            "expired": lambda: make_client(tenant, expires_at=yesterday),
            "revoked": lambda: make_client(tenant, revoked_at=yesterday),
            "agent": lambda: bearer(ready_instance(tenant).client.headers["Authorization"]),
            "gateway": lambda: bearer(make_gateway().headers["Authorization"]),
            "stranger": lambda: make_client(make_tenant()),
            "cookie alone": lambda: browser(app, make_person(tenant)),
        }
        return makers[credential]()

    return make


def browser(app: FastAPI, person: Person) -> TestClient:
    """A logged-in browser whose requests may come from any page."""
    client = TestClient(app, headers=OWN_PAGE, raise_server_exceptions=False)
    assert client.post(f"{API}/session", json={"email": person.email, "password": PASSWORD}).status_code == 201
    del client.headers["X-Requested-With"]
    return client


def ask(client: TestClient, estate: Estate, operation: Operation) -> Any:
    return client.request(operation.method, estate.url(operation), **estate.body(operation))


def test_what_needs_no_permission_is_named(app: FastAPI) -> None:
    found = operations(app)
    assert {each.name for each in found if each.permission is None} == set(PUBLIC)
    assert {each.name for each in found if each.permission == "any"} == set(ANY_CREDENTIAL)
    reading = {each.name for each in found if each.method == "get" and each.permission not in {"read", "any"}}
    assert {name for name in reading if not name.startswith("GET /api/v1/admin/")} == {
        "GET /api/v1/audit-events",
        "GET /api/v1/audit-events/chain",
    }
    assert {each.permission for each in found if each.path.startswith("/api/v1/admin/")} == {"operator"}
    assert not [each.name for each in found if each.method in MUTATING and each.permission == "read"]


def test_an_owner_reaches_all_of_it(app: FastAPI, estate: Estate, make_client: Callable[..., TestClient]) -> None:
    client = make_client(estate.tenant)
    own = [each for each in operations(app) if each.method == "get" and each.permission != "operator"]
    answers = {each.name: ask(client, estate, each).status_code for each in own}
    assert {name: code for name, code in answers.items() if code != 200} == {}


REFUSED = (*NOBODIES, "cookie alone", "stranger", "viewer", "billing", "developer", *NARROWED)


@pytest.mark.parametrize("credential", REFUSED)
def test_who_may_not_is_refused_and_nothing_changes(
    app: FastAPI,
    estate: Estate,
    make_client: Callable[..., TestClient],
    make_caller: Callable[[Estate, str], TestClient],
    credential: str,
) -> None:
    owner, caller = make_client(estate.tenant), make_caller(estate, credential)
    before = snapshot(owner, app, estate)
    secret = {*estate.ids.values(), estate.model_version_id} - {"1", "2026-01"}
    wrong: dict[str, object] = {}
    for cell in cells(operations(app), credential):
        if cell.expected == "public" or (cell.expected == "allowed" and cell.operation.method in MUTATING):
            continue
        answer = ask(caller, estate, cell.operation)
        if not kept(cell, answer):
            wrong[cell.operation.name] = (cell.expected, answer.status_code, answer.text[:200])
        elif cell.expected == "own only" and answer.is_success and any(each in answer.text for each in secret):
            wrong[cell.operation.name] = "names what is another's"
    assert wrong == {}
    assert snapshot(owner, app, estate) == before


@pytest.mark.parametrize("credential", ["owner", "admin", "developer", "viewer", "billing", *NARROWED])
def test_who_may_is_let_through(
    app: FastAPI, estate: Estate, make_caller: Callable[[Estate, str], TestClient], credential: str
) -> None:
    caller = make_caller(estate, credential)
    wrong = {}
    allowed = [cell for cell in cells(operations(app), credential) if cell.expected == "allowed"]
    for cell in sorted(allowed, key=lambda each: each.operation.method == "delete"):
        answer = ask(caller, estate, cell.operation)
        if not kept(cell, answer):
            wrong[cell.operation.name] = (answer.status_code, answer.text[:200])
    assert wrong == {}
    assert {expected(each, credential) for each in operations(app)} <= {"allowed", "forbidden", "public"}


def snapshot(owner: TestClient, app: FastAPI, estate: Estate) -> dict[str, Any]:
    """Everything that the organization reads of itself, but for what reading changes."""
    moving = ("api-keys", "audit", "instance")
    found = {}
    for each in operations(app):
        if each.method == "get" and not any(word in each.path for word in moving):
            answer = ask(owner, estate, each)
            found[each.name] = answer.content if answer.status_code == 200 else answer.status_code
    return {
        name: content
        for name, content in found.items()
        if not name.endswith(("/traffic", "/prices", "/me", "/summary"))
    }
