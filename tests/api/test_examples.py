"""Every example of the OpenAPI document is sent as it stands, with the ids of things that exist, and is taken."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import delete
from starlette.testclient import TestClient

from backend import examples
from backend.billing.models import SpendingHold
from backend.core.db import Database
from backend.core.openapi import PUBLIC
from backend.fleet.models import InstanceType
from backend.identity import operators
from tests.endpoints.conftest import control_context, make_gateway, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.identity.conftest import Person, browser, make_person  # noqa: F401 - fixtures
from tests.security.conftest import make_estate  # noqa: F401 - fixtures
from tests.security.estate import Estate

pytestmark = pytest.mark.integration
TAKEN = {"digits", "nap"}
"""Names that the estate has in use already."""


@pytest.fixture
def client(
    make_estate: Callable[[], Estate],  # noqa: F811 - the fixture
    make_client: Callable[[Tenant], TestClient],
    controller_database: Database,
) -> tuple[TestClient, Estate]:
    estate = make_estate()
    with controller_database.unit_of_work() as session:
        session.execute(delete(SpendingHold).where(SpendingHold.organization_id == estate.tenant.organization_id))
        session.merge(InstanceType(name="local.cpu", provider="local", vcpus=1, memory_bytes=2**30, description=""))
    return make_client(estate.tenant), estate


def ours(value: Any, estate: Estate) -> Any:
    """The example with this organization's ids, and other names where it has taken them."""
    text = json.dumps(value)
    for stand_in, identity in (
        (examples.PROJECT, estate.ids["project_id"]),
        (examples.DATASET_VERSION, estate.ids["version_id"]),
        (examples.MODEL_VERSION, estate.model_version_id),
    ):
        text = text.replace(stand_in, identity)
    loaded = json.loads(text)
    if loaded.get("name") in TAKEN:
        loaded["name"] += "-again"
    return loaded


@pytest.fixture
def operator(
    client: tuple[TestClient, Estate],
    make_person: Callable[..., Person],  # noqa: F811 - the fixture
    browser: Callable[[Person], TestClient],  # noqa: F811 - the fixture
    controller_database: Database,
) -> TestClient:
    """The session of an operator."""
    person = make_person(client[1].tenant)
    with controller_database.unit_of_work() as session:
        operators.grant(session, person.email, by="system:test")
    return browser(person)


def test_every_example_runs(app: FastAPI, client: tuple[TestClient, Estate], operator: TestClient) -> None:
    visitor, estate = client
    sent = set()
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in content.get("examples", {}).items():
                body = ours(example["value"], estate)
                asks = operator if path.startswith(f"{PUBLIC}admin/") else visitor
                answer = asks.request(method, path.format(**estate.ids), json=body)
                assert answer.is_success, f"{method} {path} {name}: {answer.text}"
                sent.add(f"{method.upper()} {path}")
    assert sent == set(examples.EXAMPLES)


def test_every_main_route_that_makes_something_has_an_example(app: FastAPI) -> None:
    without = {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if method == "post" and path.startswith(PUBLIC) and "{" not in path
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    } - set(examples.EXAMPLES)
    assert without == {"POST /api/v1/session", "POST /api/v1/me/password"}  # nobody's password is an example
