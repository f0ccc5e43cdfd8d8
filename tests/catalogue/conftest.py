"""The house that causes are played in: made once per module."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import delete
from starlette.testclient import TestClient

from backend.billing.models import SpendingHold
from backend.core.db import Database
from backend.core.settings import Settings
from backend.identity import operators
from tests.catalogue.stages import House, agent_of
from tests.endpoints.conftest import TYPE, World, control_context, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.identity.conftest import OWN_PAGE, PASSWORD, Person, make_person  # noqa: F401 - fixtures
from tests.security.estate import API, build_estate

_made: list[House] = []


@pytest.fixture
def house(
    *,
    app: FastAPI,
    api_settings: Settings,
    controller_database: Database,
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
    make_key: Callable[..., str],
    make_world: Callable[[Tenant], World],  # noqa: F811 - a fixture
    make_person: Callable[..., Person],  # noqa: F811 - a fixture
    ready_instance: Callable[..., Hand],
) -> House:
    """One organization with one of everything; the same for every cause."""
    if _made:
        return _made[0]
    tenant = make_tenant()
    owner, member = make_person(tenant), make_person(tenant, role="viewer")
    stranger = make_person(make_tenant())
    world = make_world(tenant)
    client = make_client(tenant)
    estate = build_estate(client, world, member.user_id, ready_instance(tenant).instance_id)
    with controller_database.unit_of_work() as session:
        session.execute(delete(SpendingHold).where(SpendingHold.organization_id == tenant.organization_id))
    ids = estate.ids | {
        "model_version_id": estate.model_version_id,
        "model_name": client.get(f"{API}/models/{estate.ids['model_id']}").json()["name"],
        "instance_type": TYPE,
        "owner_id": str(owner.user_id),
        "member_email": member.email,
        "stranger_email": stranger.email,
    }
    operator = _operating(controller_database, make_person(tenant, role="viewer"))
    tokens = _tokens(make_key, tenant) | {"cookie": _session(app, owner), "operator": _session(app, operator)}
    made = House(app, api_settings, controller_database, world, estate, ids, tokens)
    tokens["agent"], more = agent_of(made)
    ids |= more
    _made.append(made)
    return made


def _tokens(make_key: Callable[..., str], tenant: Tenant) -> dict[str, str]:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return {role: make_key(tenant, role) for role in ("owner", "viewer", "developer")} | {
        "read-only": make_key(tenant, "owner", scopes=["read"]),
        "revoked": make_key(tenant, "owner", revoked_at=yesterday),
        "expired": make_key(tenant, "owner", expires_at=yesterday),
        "unknown": "my_unknown",
    }


def _operating(database: Database, person: Person) -> Person:
    with database.unit_of_work() as session:
        operators.grant(session, person.email, by="system:test")
    return person


def _session(app: FastAPI, person: Person) -> str:
    browser = TestClient(app, headers=OWN_PAGE)
    answer = browser.post(f"{API}/session", json={"email": person.email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    token: str = browser.cookies["modelyard_session"]
    return token
