"""What Postgres itself refuses, read from its catalogue: new tables, functions and roles join by themselves."""

from collections.abc import Callable

import pytest
from sqlalchemy import Uuid, text
from sqlalchemy.exc import DBAPIError

from backend.core.db import Database
from backend.tables import METADATA
from tests.fixtures.database import Tenant
from tests.security.estate import Estate
from tests.security.tables import (
    BY_ANOTHER_COLUMN,
    OF_NO_TENANT,
    WITHOUT_A_KEY,
    attempts_on,
    read_tables,
    tenant_tables,
)

pytestmark = pytest.mark.integration
DENIED = "42501"
"""insufficient_privilege: no right on the table, or a row that its policy refuses."""


def test_every_table_has_forced_row_security(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        found = read_tables(session)
        views = session.scalars(
            text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')")
        ).all()
    assert {table.name for table in found if not table.forced} == set(OF_NO_TENANT)
    assert {table.name for table in found if table.forced} == {*tenant_tables(), *BY_ANOTHER_COLUMN}
    assert list(views) == []  # a view reads with its owner's eyes


def test_nobody_but_the_controller_writes_across_tenants(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        found = read_tables(session)
    assert {table.name for table in found if set("IUD") & set(table.rights["modelyard_operator"])} == set()
    read_by_app = {table.name for table in found if "S" in table.rights["modelyard_app"]}
    assert read_by_app & {"control_ticks", "gateways", "operators", "route_table"} == set()


def test_foreign_keys_between_tenant_tables_carry_the_organization() -> None:
    tenants, loose = set(tenant_tables()), set()
    for name in tenants:
        table = METADATA.tables[name]
        tied = {"id", "organization_id"}
        for key in table.foreign_key_constraints:
            tied |= set(key.column_keys)
            pairs = {(one.parent.name, one.column.name) for one in key.elements}
            same = ("organization_id", "organization_id") in pairs
            assert key.referred_table.name not in tenants or same, f"{name}: {key.column_keys}"
        loose |= {
            (name, column.name)
            for column in table.columns
            if isinstance(column.type, Uuid) and column.name.endswith("_id") and column.name not in tied
        }
    assert loose == set(WITHOUT_A_KEY)


def test_no_tenant_touches_anothers_rows(
    app_database: Database,
    controller_database: Database,
    make_tenant: Callable[[], Tenant],
    estate: Estate,
) -> None:
    stranger, victim = make_tenant().scope, estate.tenant.scope
    with controller_database.unit_of_work() as session:
        full = {
            name
            for name in tenant_tables()
            if session.scalar(
                text(f"SELECT count(*) FROM {name} WHERE organization_id = :victim"),  # noqa: S608 - the catalogue's own names
                {"victim": victim.organization_id},
            )
        }
    # Where the victim has no row, SELECT, UPDATE and DELETE show nothing; INSERT and STEAL do.
    assert len(full) >= 20
    wrong = {}
    for name in (*tenant_tables(), "organizations"):
        found = attempts_on(app_database, stranger, name, victim)
        kept = (
            found["SELECT"] in {0, DENIED}
            and found["UPDATE"] in {0, DENIED}
            and found["DELETE"] in {0, DENIED}
            and found["STEAL"] in {0, DENIED}
            and found["INSERT"] == DENIED
        )
        if not kept:
            wrong[name] = found
    assert wrong == {}


def test_policies_of_the_app_name_its_tenant(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        policies = session.execute(
            text(
                "SELECT tablename, policyname, cmd, qual, with_check FROM pg_policies"
                " WHERE 'modelyard_app' = ANY (roles) OR 'public' = ANY (roles)"
            )
        ).all()
    assert len(policies) > 30
    open_ones = [(row.tablename, row.policyname) for row in policies if "app.organization_id" not in str(row.qual)]
    by_operators = [row for row in policies if row.policyname in {"set_by_operator", "ended_by_operator"}]
    assert all("operator_is_acting()" in f"{row.qual}{row.with_check}" for row in by_operators)
    assert sorted(open_ones) == [
        ("prices", "ended_by_operator"),
        ("prices", "set_by_operator"),
        ("prices", "tenant"),  # the same for all, to read
        ("users", "invite"),
    ]


def test_functions_with_more_rights_are_pinned(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        functions = session.execute(
            text(
                "SELECT proname, proconfig, pg_get_userbyid(proowner) AS owner, prosrc,"
                " has_function_privilege('modelyard_operator', oid, 'EXECUTE') AS others"
                " FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
            )
        ).all()
    assert len(functions) >= 7
    for row in functions:
        assert row.proconfig == ["search_path=pg_catalog, pg_temp"], row.proname
        assert row.owner == "modelyard_auth", row.proname
        assert not row.others, row.proname
        assert "EXECUTE" not in row.prosrc.upper().replace("EXECUTE ON", ""), row.proname


def test_roles_cannot_become_more(controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        roles = session.execute(
            text(
                "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin"
                " FROM pg_roles WHERE rolname LIKE 'modelyard%'"
            )
        ).all()
        memberships = session.execute(
            text(
                "SELECT pg_get_userbyid(member) AS member, pg_get_userbyid(roleid) AS role FROM pg_auth_members"
                " WHERE pg_get_userbyid(member) LIKE 'modelyard%'"
            )
        ).all()
        owned = session.scalars(
            text(
                "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')"
            )
        ).all()
    for row in roles:
        assert not any((row.rolsuper, row.rolbypassrls, row.rolcreaterole, row.rolcreatedb, row.rolreplication)), row
    assert {row.rolname for row in roles if not row.rolcanlogin} == {"modelyard_auth"}
    app_is = {row.role for row in memberships if row.member in {"modelyard_app", "modelyard_operator"}}
    assert app_is == set()
    assert list(owned) == ["modelyard_owner"]


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL ROLE modelyard_controller",
        "SET LOCAL ROLE modelyard_owner",
        "SET LOCAL SESSION AUTHORIZATION modelyard_controller",
        "SET LOCAL row_security = off; SELECT count(*) FROM jobs",
        "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON jobs USING (true)",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE public.t (a int)",
        "SELECT body FROM route_table",
        "SELECT token_hash FROM gateways",
        "UPDATE prices SET amount = 0",
        "UPDATE charges SET amount = 0",
        "UPDATE charge_days SET amount = 0",
        "DELETE FROM charge_days",
        "DELETE FROM charges",
        "DELETE FROM usage_records",
        "UPDATE usage_records SET quantity = 0",
        "UPDATE audit_events SET action = 'x'",
        "DELETE FROM audit_events",
        "DELETE FROM events",
        "UPDATE model_versions SET files = '[]'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user",
    ],
)
def test_the_app_role_may_not(app_database: Database, tenant: Tenant, statement: str) -> None:
    with pytest.raises(DBAPIError), app_database.unit_of_work(tenant.scope) as session:
        session.execute(text(statement))


def test_without_a_tenant_the_app_sees_nothing(
    app_database: Database, controller_database: Database, make_tenant: Callable[[], Tenant]
) -> None:
    make_tenant()
    with controller_database.unit_of_work() as session:
        tables = session.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
                " AND relrowsecurity AND has_table_privilege('modelyard_app', oid, 'SELECT')"
            )
        ).all()
    assert len(tables) > 30
    with app_database.unit_of_work() as session:
        own = set(tables) - {"prices"}  # the same for all, to read
        seen = {name: session.scalar(text(f"SELECT count(*) FROM {name}")) for name in own}  # noqa: S608 - the catalogue's own names
    assert {name: count for name, count in seen.items() if count} == {}
