"""Every operation of the OpenAPI document against other organizations, other roles and nobody.

New routes join by themselves; one with a body needs an entry in `estate`.
"""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.endpoints.conftest import World, control_context, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.identity.conftest import Person, make_person  # noqa: F401 - fixtures
from tests.security.estate import API, MUTATING, Estate, Operation, build_estate, operations

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
WITHOUT_CREDENTIAL = {"POST /api/v1/session"}
OWN_ONLY = {"DELETE /api/v1/session", "POST /api/v1/me/password"}
"""Of the caller itself: no role is needed."""


@pytest.fixture
def estate(
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
    make_world: Callable[[Tenant], World],  # noqa: F811 - a fixture
    make_person: Callable[..., Person],  # noqa: F811 - a fixture
    ready_instance: Callable[..., Hand],
) -> Estate:
    tenant = make_tenant()
    make_person(tenant)
    member = make_person(tenant, role="viewer")
    hand = ready_instance(tenant)
    return build_estate(make_client(tenant), make_world(tenant), member.user_id, hand.instance_id)


def ask(client: TestClient, estate: Estate, operation: Operation) -> Any:
    return client.request(operation.method, estate.url(operation), **estate.body(operation))


def test_an_owner_reaches_all_of_it(app: FastAPI, estate: Estate, make_client: Callable[..., TestClient]) -> None:
    client = make_client(estate.tenant)
    answers = {each.name: ask(client, estate, each).status_code for each in operations(app) if each.method == "get"}
    assert {name: code for name, code in answers.items() if code != 200} == {}


def test_nobody_reaches_anything(app: FastAPI, estate: Estate, make_client: Callable[..., TestClient]) -> None:
    client = make_client()
    answers = {each.name: ask(client, estate, each).status_code for each in operations(app)}
    wrong = {name: code for name, code in answers.items() if code != 401 and name not in WITHOUT_CREDENTIAL}
    assert wrong == {}


@pytest.mark.parametrize("kind", ["unknown", "instance"])
def test_other_credentials_are_none(
    app: FastAPI, estate: Estate, make_client: Callable[..., TestClient], ready_instance: Callable[..., Hand], kind: str
) -> None:
    client = make_client()
    hand = ready_instance(estate.tenant)
    bearer = hand.client.headers["Authorization"] if kind == "instance" else "Bearer my_unknown"
    client.headers["Authorization"] = bearer
    answers = {each.name: ask(client, estate, each).status_code for each in operations(app)}
    wrong = {name: code for name, code in answers.items() if code != 401 and name not in WITHOUT_CREDENTIAL}
    assert wrong == {}


def test_another_organizations_owner_finds_nothing(
    app: FastAPI, estate: Estate, make_client: Callable[..., TestClient], make_tenant: Callable[[], Tenant]
) -> None:
    stranger = make_client(make_tenant())
    before = snapshot(make_client(estate.tenant), app, estate)
    secret = {*estate.ids.values(), estate.model_version_id} - {"1", "2026-01"}
    wrong: dict[str, object] = {}
    for each in operations(app):
        answer = ask(stranger, estate, each)
        own = {"month", "number"} >= set(each.parameters)
        if not own and answer.status_code != 404:
            wrong[each.name] = (answer.status_code, answer.text[:200])
        elif answer.status_code >= 500:
            wrong[each.name] = answer.text
        elif answer.status_code == 200 and any(value in answer.text for value in secret):
            wrong[each.name] = "names what is another's"
    assert wrong == {}
    assert snapshot(make_client(estate.tenant), app, estate) == before


def test_bodies_and_filters_cannot_name_what_is_anothers(
    app: FastAPI, estate: Estate, make_client: Callable[..., TestClient], make_tenant: Callable[[], Tenant]
) -> None:
    own = make_tenant()
    stranger = make_client(own)
    names_another = [
        each
        for each in operations(app)
        if each.has_body and not each.parameters and "project_id" in str(estate.body(each))
    ]
    assert len(names_another) >= 6
    answers = {each.name: ask(stranger, estate, each) for each in names_another}
    assert {name: answer.text for name, answer in answers.items() if answer.status_code != 404} == {}
    project = {"project_id": str(own.project_id)}
    theirs: list[tuple[str, dict[str, Any]]] = [
        ("training-jobs", {"dataset_version_id": estate.ids["version_id"], "model_name": "m"}),
        ("compression-jobs", {"model_version_id": estate.model_version_id}),
        (
            "compression-jobs",
            {"model_version_id": estate.model_version_id, "dataset_version_id": estate.ids["version_id"]},
        ),
    ]
    for path, body in theirs:
        answer = stranger.post(f"{API}/{path}", json={**project, "name": "theirs", "instance_type": "test.cpu", **body})
        assert (answer.status_code, path) == (404, path), answer.text
    variants = [{"name": "a", "model_version_id": estate.model_version_id, "weight": 1}]
    wanted = {**project, "name": "theirs", "instance_type": "test.endpoints", "variants": variants}
    assert stranger.post(f"{API}/endpoints", json=wanted).status_code == 404
    for path in ("jobs", "datasets", "models", "endpoints", "charges", "usage"):
        answer = stranger.get(f"{API}/{path}", params={"project_id": estate.ids["project_id"]})
        assert answer.status_code in {200, 404}, (path, answer.text)
        assert answer.status_code == 404 or answer.json()["items"] == [], path


@pytest.mark.parametrize("role", ["viewer", "billing", "developer"])
def test_every_change_needs_its_permission(
    app: FastAPI, estate: Estate, make_client: Callable[..., TestClient], role: str
) -> None:
    client = make_client(estate.tenant, role)
    before = snapshot(make_client(estate.tenant), app, estate)
    wrong = {}
    for each in operations(app):
        if each.method not in MUTATING or each.name in WITHOUT_CREDENTIAL | OWN_ONLY or may(role, each):
            continue
        code = ask(client, estate, each).status_code
        if code != 403:
            wrong[each.name] = code
    assert wrong == {}
    assert snapshot(make_client(estate.tenant), app, estate) == before


def may(role: str, operation: Operation) -> bool:
    """Whether a role may; what developers do is most of the API, what managers alone do is named."""
    money = operation.path.startswith((f"{API}/budgets", f"{API}/spending-holds"))
    if role == "developer":
        managers = operation.path.startswith(f"{API}/members")
        return not (money or managers)
    return role == "billing" and money


@pytest.mark.parametrize("scopes", [["read"], ["invoke"], ["billing"]])
def test_scopes_hold_on_every_route(
    app: FastAPI, estate: Estate, make_client: Callable[..., TestClient], scopes: list[str]
) -> None:
    client = make_client(estate.tenant, "owner", scopes=scopes)
    exempt = WITHOUT_CREDENTIAL | OWN_ONLY | {"GET /api/v1/me"}
    answers = {}
    for each in operations(app):
        needs = "read" if each.method == "get" else "billing" if may("billing", each) else "write or manage"
        if each.name not in exempt and needs not in scopes:
            answers[each.name] = ask(client, estate, each).status_code
    assert {name: code for name, code in answers.items() if code != 403} == {}


def snapshot(owner: TestClient, app: FastAPI, estate: Estate) -> dict[str, Any]:
    """Everything that the organization reads of itself, but for what reading changes."""
    found = {}
    for each in operations(app):
        if (
            each.method == "get"
            and "api-keys" not in each.path
            and "audit" not in each.path
            and "instance" not in each.path
        ):
            answer = ask(owner, estate, each)
            found[each.name] = answer.content if answer.status_code == 200 else answer.status_code
    return {
        name: content
        for name, content in found.items()
        if not name.endswith(("/traffic", "/prices", "/me", "/summary"))
    }
