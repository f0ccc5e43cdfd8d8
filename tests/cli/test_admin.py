"""`modelyard admin`: operators and prices, by whoever may act as the controller."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.settings import Settings
from backend.identity.models import Membership, User
from tests.cli.conftest import Command
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


@pytest.fixture
def admin(database_settings: Settings) -> Command:
    url = database_settings.database.controller_url
    assert url is not None
    return Command({"MODELYARD_DATABASE__CONTROLLER_URL": url.get_secret_value()})


@pytest.fixture
def email(controller_database: Database, make_tenant: Callable[[], Tenant]) -> str:
    tenant, user_id = make_tenant(), new_id()
    with controller_database.unit_of_work() as session:
        session.add(User(id=user_id, email=f"{user_id}@example.com", full_name="Ada", password_hash="x"))
        session.flush()
        session.add(Membership(organization_id=tenant.organization_id, user_id=user_id, role="viewer"))
    return f"{user_id}@example.com"


def test_operators_come_and_go(admin: Command, email: str) -> None:
    assert "now an operator" in admin.ok("admin", "operators", "add", email).stdout
    assert "already" in admin.ok("admin", "operators", "add", email).stdout
    listed = admin.json("admin", "operators", "list")
    assert [one["granted_by"].split(":")[0] for one in listed if one["email"] == email] == ["host"]
    assert "no operator any more" in admin.ok("admin", "operators", "remove", email).stdout
    assert email not in admin.ok("admin", "operators", "list").stdout
    nobody = admin("admin", "operators", "add", "nobody@example.com")
    assert (nobody.status, "no account" in nobody.stderr) == (1, True)


def test_a_price_gets_a_version(admin: Command) -> None:
    sku = f"instance:{new_id()}:spot"
    assert "$0.002 per second" in admin.ok("admin", "set-price", sku, "0.002", "--from", "2030-01-01").stdout
    assert admin("admin", "set-price", sku, "cheap").status == 2
    too_fine = admin("admin", "set-price", sku, "0.00000000001")
    assert (too_fine.status, "nine decimals" in too_fine.stderr or "9 decimals" in too_fine.stderr) == (1, True)
    again = admin("admin", "set-price", sku, "0.003", "--from", "2030-01-01")
    assert again.status == 1


def test_without_a_platform_it_says_so(tmp_path: Path) -> None:
    told = Command({"MODELYARD_HOME": str(tmp_path)})("admin", "operators", "list")
    assert told.status == 2
    assert "no platform" in told.stderr
