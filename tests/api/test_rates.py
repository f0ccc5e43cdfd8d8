"""A credential may send so many requests in a minute, and every answer says how many are left."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from starlette.testclient import TestClient

from backend.app import create_app
from backend.core.db import Database
from backend.core.settings import Settings
from backend.identity.models import Organization
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


@pytest.fixture
def limited(api_settings: Settings) -> Iterator[FastAPI]:
    api = api_settings.api.model_copy(update={"requests_per_minute": 3})
    application = create_app(api_settings.model_copy(update={"api": api}))
    yield application
    application.state.database.dispose()


@pytest.fixture
def enter(limited: FastAPI, make_key: Callable[..., str]) -> Callable[..., TestClient]:
    def make(tenant: Tenant) -> TestClient:
        headers = {"Authorization": f"Bearer {make_key(tenant)}"}
        return TestClient(limited, headers=headers, raise_server_exceptions=False)

    return make


def told(answer: Any) -> tuple[int, str, str]:
    """Status, and the headers without the seconds."""
    return answer.status_code, answer.headers["RateLimit-Policy"], answer.headers["RateLimit"].split(";t=")[0]


def test_every_answer_says_what_is_left_and_the_last_one_when_to_come_again(
    enter: Callable[..., TestClient], tenant: Tenant
) -> None:
    client, policy = enter(tenant), '"requests";q=3;w=60'
    assert told(client.get("/api/v1/me")) == (200, policy, '"requests";r=2')
    assert told(client.get("/api/v1/lineage/job/none")) == (404, policy, '"requests";r=1')
    assert told(client.post("/api/v1/projects", json={})) == (422, policy, '"requests";r=0')
    refused = client.get("/api/v1/me")
    assert told(refused) == (429, policy, '"requests";r=0')
    assert refused.json()["code"] == "request_rate_exceeded"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].endswith(f";t={refused.headers['Retry-After']}")


def test_another_credential_has_a_count_of_its_own(enter: Callable[..., TestClient], tenant: Tenant) -> None:
    first, second = enter(tenant), enter(tenant)
    for _ in range(4):
        first.get("/api/v1/me")
    assert told(second.get("/api/v1/me"))[2] == '"requests";r=2'


def test_an_organization_may_have_a_number_of_its_own(
    enter: Callable[..., TestClient], tenant: Tenant, controller_database: Database
) -> None:
    with controller_database.unit_of_work() as session:
        session.execute(
            update(Organization).where(Organization.id == tenant.organization_id).values(requests_per_minute=50)
        )
    assert told(enter(tenant).get("/api/v1/me"))[1:] == ('"requests";q=50;w=60', '"requests";r=49')


def test_the_minute_passes(limited: FastAPI, enter: Callable[..., TestClient], tenant: Tenant) -> None:
    client = enter(tenant)
    seconds = [0.0]
    limited.state.rates._clock = lambda: seconds[0]  # noqa: SLF001 - a minute is long
    assert [client.get("/api/v1/me").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    seconds[0] = 61.0
    assert client.get("/api/v1/me").status_code == 200


def test_log_in_says_what_its_limit_is(limited: FastAPI) -> None:
    client = TestClient(limited, raise_server_exceptions=False)
    body = {"email": "nobody@example.com", "password": "no such password"}
    answers = [client.post("/api/v1/session", json=body) for _ in range(11)]
    assert "RateLimit" not in answers[0].headers
    assert told(answers[-1]) == (429, '"log-in";q=10;w=300', '"log-in";r=0')


def test_what_needs_no_credential_is_not_counted(limited: FastAPI) -> None:
    client = TestClient(limited)
    assert "RateLimit" not in client.get("/health/live").headers
