"""The first boot and the next ones, on databases of their own."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, select, update
from starlette.testclient import TestClient

from backend.app import create_app
from backend.billing.models import Price
from backend.core.db import Database, make_engine
from backend.core.migrate import migrate
from backend.core.settings import GatewaySettings, Settings
from backend.fleet.models import InstanceType, Quota
from backend.identity.models import Organization
from backend.seed import PRICES, seed

pytestmark = pytest.mark.integration


def fresh_settings(settings: Settings, home: Path) -> Settings:
    """Settings of a migrated database with nothing in it."""
    name = f"seed_{uuid4().hex}"

    def moved(secret: SecretStr | None) -> SecretStr:
        assert secret is not None
        url = make_url(secret.get_secret_value()).set(database=name)
        return SecretStr(url.render_as_string(hide_password=False))

    database = settings.database
    moved_urls = {
        field: moved(getattr(database, field)) for field in ("owner_url", "app_url", "controller_url", "operator_url")
    }
    fresh = settings.model_copy(
        update={
            "home": home,
            "database": database.model_copy(update=moved_urls),
            "gateway": GatewaySettings(host="0.0.0.0", token=SecretStr("gateway-token")),  # noqa: S104 - shown as 127.0.0.1
        }
    )
    migrate(fresh)
    return fresh


@pytest.fixture
def fresh(api_settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a migrated database with nothing in it."""
    return fresh_settings(api_settings, tmp_path / "home")


@pytest.fixture
def controller(fresh: Settings) -> Iterator[Database]:
    """The fresh database as the controller sees it."""
    assert fresh.database.controller_url is not None
    database = Database(make_engine(fresh.database.controller_url.get_secret_value(), pool_size=2))
    yield database
    database.dispose()


def test_the_first_boot_gives_credentials_that_work_and_the_next_ones_nothing(
    fresh: Settings, controller: Database
) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(seed, [fresh, fresh]))
    assert sorted(result.created for result in results) == [False, True]
    path = results[0].owner_file
    assert path == fresh.home / "owner.json"
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116 - the mode itself is the point
    assert [entry.name for entry in fresh.home.iterdir()] == ["owner.json"]
    text = path.read_text()
    owner = json.loads(text)
    assert (owner["gateway_url"], owner["grpc_address"]) == ("http://127.0.0.1:8701", "127.0.0.1:8702")
    app = create_app(fresh)
    robot = TestClient(app, headers={"Authorization": f"Bearer {owner['api_key']}"})
    me = robot.get("/api/v1/me").json()
    assert me["role"] == "owner"
    assert me["organization"]["account_id"] == owner["account_id"]
    log_in = {"email": owner["email"], "password": owner["password"]}
    assert TestClient(app).post("/api/v1/session", json=log_in).status_code == 201
    app.state.database.dispose()
    assert not seed(fresh).created
    assert path.read_text() == text
    with controller.unit_of_work() as session:
        assert session.scalars(select(Organization.id)).all() == [UUID(owner["organization_id"])]
        assert session.scalars(select(Quota.max_instances)).all() == [4]


def test_a_start_on_other_ports_renews_the_addresses_and_nothing_else(fresh: Settings) -> None:
    path = seed(fresh).owner_file
    before = json.loads(path.read_text())
    fresh.api.port, fresh.gateway.port, fresh.gateway.grpc_port = 18700, 18701, 18702
    assert not seed(fresh).created
    addresses = {
        "api_url": "http://127.0.0.1:18700",
        "gateway_url": "http://127.0.0.1:18701",
        "grpc_address": "127.0.0.1:18702",
    }
    assert json.loads(path.read_text()) == before | addresses
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    seed(fresh)
    assert not path.exists(), "credentials that were put away stay away"


def test_prices_are_exact_and_what_people_set_stays(fresh: Settings, controller: Database) -> None:
    seed(fresh)
    with controller.unit_of_work() as session:
        amounts = {row.sku: row.amount for row in session.execute(select(Price.sku, Price.amount))}
        assert amounts == {sku: amount for sku, _, amount, _ in PRICES}
        assert amounts["inference:call"] == Decimal("0.0000004")
        session.execute(update(Price).where(Price.sku == "inference:call").values(amount=Decimal(1)))
        shape = session.get(InstanceType, "local.cpu")
        assert shape is not None
        assert shape.vcpus >= 1
        assert shape.memory_bytes > 2**28
        shape.vcpus = 4096
    seed(fresh)
    with controller.unit_of_work() as session:
        amounts = {row.sku: row.amount for row in session.execute(select(Price.sku, Price.amount))}
        assert amounts["inference:call"] == 1
        assert len(amounts) == len(PRICES)
        shape = session.get(InstanceType, "local.cpu")
        assert shape is not None
        assert shape.vcpus < 4096


def test_a_boot_that_cannot_write_the_file_leaves_nothing(fresh: Settings, controller: Database) -> None:
    fresh.home.mkdir()
    (fresh.home / "owner.json").mkdir()
    with pytest.raises(OSError, match="owner"):
        seed(fresh)
    with controller.unit_of_work() as session:
        assert session.scalars(select(Organization.id)).all() == []
    (fresh.home / "owner.json").rmdir()
    assert seed(fresh).created


def test_what_is_missing_is_named(fresh: Settings) -> None:
    without = fresh.model_copy(update={"gateway": GatewaySettings()})
    with pytest.raises(RuntimeError, match="MODELYARD_GATEWAY__TOKEN"):
        seed(without)
