"""People: accounts with a known password, logged in through the real API."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.identity.models import Membership, User
from tests.fixtures.database import Tenant

PASSWORD = "correct horse battery"
OWN_PAGE = {"X-Requested-With": "fetch"}


@dataclass(frozen=True)
class Person:
    """A member."""

    user_id: UUID
    email: str


@pytest.fixture
def make_person(controller_database: Database, app: FastAPI) -> Callable[..., Person]:
    """Make a member of one or more tenants, committed; the password is PASSWORD."""

    def make(*tenants: Tenant, role: str = "owner") -> Person:
        person = Person(uuid4(), f"person-{uuid4()}@example.org")
        with controller_database.unit_of_work() as session:
            session.add(
                User(
                    id=person.user_id,
                    email=person.email,
                    full_name="Per Son",
                    password_hash=app.state.security.passwords.hash(PASSWORD),
                )
            )
            session.flush()
            for tenant in tenants:
                session.add(Membership(organization_id=tenant.organization_id, user_id=person.user_id, role=role))
                session.flush()
        return person

    return make


@pytest.fixture
def browser(app: FastAPI) -> Callable[[Person], TestClient]:
    """A browser in which a person has logged in; changes carry our own page's header."""

    def open_browser(person: Person) -> TestClient:
        client = TestClient(app, headers=OWN_PAGE, raise_server_exceptions=False)
        answer = client.post("/api/v1/session", json={"email": person.email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return client

    return open_browser
