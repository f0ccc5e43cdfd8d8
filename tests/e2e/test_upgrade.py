"""A home whose database is at an older schema, with an organization, its key and its bill, boots at this one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.billing.models import Charge, UsageRecord
from backend.core.crypto import hash_token, new_access_key_id, new_token
from backend.core.db import Database, Scope, make_engine
from backend.core.ids import new_account_id, new_id
from backend.core.migrate import _create_roles_and_database, upgrade
from backend.core.settings import DatabaseSettings, RolePasswords, Settings
from backend.identity.models import Membership, User
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.folders import make_runtime_folder, runtime_folder
from backend.platform.secretsfile import home_secrets
from backend.projects.models import Project
from tests.fixtures.platform import ON_PLATFORM, RunningPlatform, only

pytestmark = [*ON_PLATFORM, pytest.mark.slow]

OLD = "0005"
SKU = "instance:local.cpu:on-demand"


def test_an_old_home_is_upgraded_and_boots(new_platform: Callable[[], RunningPlatform]) -> None:
    platform = new_platform()
    token = _make_old_home(platform.home)
    platform.up()
    client = platform.client(token)
    assert [project.name for project in client.projects.list()] == ["kept"]
    charge = only(client.costs.charges())
    assert (charge.sku, charge.quantity, charge.amount) == (SKU, Decimal("12.345"), Decimal("0.0012345"))
    with platform.database("controller").unit_of_work() as session:
        assert session.scalar(text("SELECT sum(amount) FROM charge_days")) == Decimal("0.0012345")
    schema = client.transport.get("/health/ready", dict[str, str])["schema"]
    assert schema > OLD
    platform.down()


def _make_old_home(home: Path) -> str:
    """A home as an earlier Modelyard would have left it; returns its owner's key."""
    server = EmbeddedPostgres(home, make_runtime_folder(runtime_folder(home)))
    server.start()
    try:
        settings = _settings(server, home)
        _create_roles_and_database(settings)
        owner = make_engine(_text(settings.database.owner_url), pool_size=1, name="old")
        with owner.begin() as connection:
            upgrade(connection, OLD)
        owner.dispose()
        return _fill(_text(settings.database.controller_url))
    finally:
        server.stop()


def _settings(server: EmbeddedPostgres, home: Path) -> Settings:
    secrets = home_secrets(home)

    def url(role: str) -> SecretStr:
        password, host = quote(getattr(secrets, f"{role}_password")), quote(str(server.socket_folder), safe="")
        return SecretStr(f"postgresql+psycopg://modelyard_{role}:{password}@/modelyard?host={host}&port=5432")

    roles = ("owner", "app", "controller", "operator")
    return Settings(
        home=home,
        database=DatabaseSettings(
            admin_url=SecretStr(server.superuser_url()),
            owner_url=url("owner"),
            controller_url=url("controller"),
        ),
        roles=RolePasswords(**{role: SecretStr(getattr(secrets, f"{role}_password")) for role in roles}),
    )


def _text(secret: SecretStr | None) -> str:
    assert secret is not None
    return secret.get_secret_value()


def _fill(url: str) -> str:
    """An organization with an owner's key, a project and one charge, in tables that have not changed since."""
    token, scope, user_id = new_token("my"), Scope(new_id()), new_id()
    database = Database(make_engine(url, pool_size=1, name="old"))
    with database.unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO organizations (id, account_id, name, slug, tags)"
                " VALUES (:id, :account, 'Old', 'old', '{}')"
            ),
            {"id": scope.organization_id, "account": new_account_id()},
        )
        session.add(User(id=user_id, email="old@example.test", full_name="Old", password_hash="none"))
        session.flush()
        session.add(Membership(organization_id=scope.organization_id, user_id=user_id, role="owner"))
        session.execute(
            text(
                "INSERT INTO api_keys (id, organization_id, name, access_key_id, token_hash, secret_encrypted, role,"
                " scopes, tags, created_by)"
                " VALUES (:id, :organization, 'old', :access, :hash, '', 'owner', '{}', '{}', :by)"
            ),
            {"id": new_id(), "organization": scope.organization_id, "access": new_access_key_id(),
             "hash": hash_token(token), "by": user_id},
        )  # fmt: skip
        project = Project(id=new_id(), organization_id=scope.organization_id, name="kept", description="")
        session.add(project)
        session.flush()
        _charge(session, project)
    database.dispose()
    return token


def _charge(session: Session, project: Project) -> None:
    """12.345 seconds at $0.0001."""
    at = datetime.now(UTC) - timedelta(hours=1)
    price_id, unit_price = new_id(), Decimal("0.0001")
    session.execute(
        text(
            "INSERT INTO prices (id, sku, unit, amount, description, effective_from)"
            " VALUES (:id, :sku, 'second', :amount, 'old', :at)"
        ),
        {"id": price_id, "sku": SKU, "amount": unit_price, "at": at},
    )
    period = {"from_at": at, "to_at": at + timedelta(milliseconds=12_345)}
    resource = {"resource_kind": "job", "resource_id": new_id(), "resource_name": "old-job"}
    owned = {"organization_id": project.organization_id, "project_id": project.id}
    quantity = Decimal("12.345")
    record = UsageRecord(
        id=new_id(), source_kind="attempt", source_id=new_id(), sku=SKU, quantity=quantity,
        rated_at=at, **owned, **resource, **period,
    )  # fmt: skip
    session.add(record)
    session.flush()
    session.add(
        Charge(
            id=new_id(),
            usage_record_id=record.id,
            price_id=price_id,
            sku=SKU,
            quantity=quantity,
            unit="second",
            unit_price=unit_price,
            amount=quantity * unit_price,
            **owned,
            **resource,
            **period,
        )
    )
