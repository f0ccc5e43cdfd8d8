"""An operator with a session, and a bill that runs over a change of price."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.ids import new_id
from backend.fleet.models import InstanceType
from backend.identity import operators
from tests.fixtures.database import Tenant
from tests.identity.conftest import Person, browser, make_person  # noqa: F401 - fixtures


@dataclass(frozen=True)
class Operator:
    """Who runs the platform, logged in."""

    person: Person
    tenant: Tenant
    client: TestClient


@pytest.fixture
def operator(
    make_tenant: Callable[[], Tenant],
    make_person: Callable[..., Person],  # noqa: F811 - the fixture
    browser: Callable[[Person], TestClient],  # noqa: F811 - the fixture
    controller_database: Database,
) -> Operator:
    """A viewer of an organization of their own."""
    tenant = make_tenant()
    person = make_person(tenant, role="viewer")
    with controller_database.unit_of_work() as session:
        assert operators.grant(session, person.email, by="system:test")
    return Operator(person, tenant, browser(person))


@pytest.fixture
def shape(controller_database: Database) -> str:
    """An instance type of this test's own."""
    name = f"test.{new_id()}"
    with controller_database.unit_of_work() as session:
        session.add(InstanceType(name=name, provider="local", vcpus=1.0, memory_bytes=2**30, description="test"))
    return name
