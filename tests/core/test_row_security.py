"""★9: a tenant sees only its own, enforced by Postgres below the repositories."""

from collections.abc import Callable

import pytest
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DBAPIError

from backend.core.db import Database, act_as
from backend.core.ids import new_id
from backend.projects.models import Project
from backend.tables import METADATA
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration

WITHOUT_TENANT = {
    "alembic_version",
    "api_uptime",
    "control_ticks",
    "gateways",
    "instance_types",
    "operators",
    "route_table",
}


def test_every_table_of_a_tenant_forces_row_security(operator_database: Database) -> None:
    with operator_database.unit_of_work() as session:
        rows = session.execute(
            text(
                "SELECT relname, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class "
                "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            )
        ).all()
    forced = {row.relname for row in rows if row.forced}
    assert {row.relname for row in rows} - forced == WITHOUT_TENANT
    assert forced == set(METADATA.tables) - WITHOUT_TENANT  # with prices, which everybody reads and operators write


def test_no_login_role_may_bypass_row_security(operator_database: Database) -> None:
    with operator_database.unit_of_work() as session:
        rows = session.execute(
            text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'modelyard%' AND (rolbypassrls OR rolsuper)")
        ).all()
    assert rows == []


def test_app_sees_its_own_tenant_and_nothing_without_one(
    app_database: Database, make_tenant: Callable[[], Tenant]
) -> None:
    mine, other = make_tenant(), make_tenant()
    with app_database.unit_of_work(mine.scope) as session:
        assert session.scalars(select(Project.id)).all() == [mine.project_id]
        assert session.get(Project, other.project_id) is None
    with app_database.unit_of_work() as session:
        assert session.scalars(select(Project.id)).all() == []


def test_app_cannot_write_into_another_tenant(app_database: Database, make_tenant: Callable[[], Tenant]) -> None:
    mine, other = make_tenant(), make_tenant()
    with pytest.raises(DBAPIError, match="row-level security"), app_database.unit_of_work(mine.scope) as session:
        session.add(Project(id=new_id(), organization_id=other.organization_id, name="intruder", description=""))


def test_controller_acting_for_a_tenant_is_as_narrow_as_the_app(
    controller_database: Database, make_tenant: Callable[[], Tenant]
) -> None:
    mine, other = make_tenant(), make_tenant()
    with controller_database.unit_of_work() as session:
        assert {mine.project_id, other.project_id} <= set(session.scalars(select(Project.id)))
        act_as(session, mine.organization_id)
        assert session.scalars(select(Project.id)).all() == [mine.project_id]


def test_operator_cannot_write_and_sees_no_secret(operator_database: Database, tenant: Tenant) -> None:
    with (
        pytest.raises(DBAPIError, match="permission denied"),
        operator_database.unit_of_work() as session,
    ):
        session.execute(text("UPDATE projects SET name = 'x'"))
    with (
        pytest.raises(DBAPIError, match="permission denied"),
        operator_database.unit_of_work() as session,
    ):
        session.execute(text("SELECT token_hash FROM api_keys"))
    with operator_database.unit_of_work() as session:
        assert tenant.project_id in set(session.scalars(select(Project.id)))


def test_models_and_migrations_agree(operator_database: Database) -> None:
    inspector = inspect(operator_database.engine)
    in_database = {
        table: {column["name"] for column in inspector.get_columns(table)}
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }
    in_models = {name: {column.name for column in table.columns} for name, table in METADATA.tables.items()}
    assert in_database == in_models
