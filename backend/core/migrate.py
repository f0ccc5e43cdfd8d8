"""`migrate`: roles, database, schema; a one-shot under an advisory lock. Everything else only checks.

As the server's administrator: create the roles (or renew their passwords) and the database, owned by
*owner*. As *owner*: run Alembic, unless the schema is the newest already.
"""

from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import Connection, create_engine, make_url, text

from backend.core.schema import check_schema, current_revision, newest_revision
from backend.core.settings import Settings, require

MIGRATE_LOCK = 0x4D59  # one advisory lock for the whole cluster: "MY"
LOGIN_ROLES = ("owner", "app", "controller", "operator")
NOLOGIN_ROLES = ("auth",)


def migrate(settings: Settings) -> str:
    """Create roles and database where missing, upgrade the schema; returns the revision it is at now."""
    database = settings.database
    if database.admin_url is not None:
        _create_roles_and_database(settings)
    engine = create_engine(require(database.owner_url, "MODELYARD_DATABASE__OWNER_URL"))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATE_LOCK})
            if current_revision(engine) != newest_revision():
                upgrade(connection)
        return check_schema(engine)
    finally:
        engine.dispose()


def load_upgrades() -> None:
    """Import what an upgrade needs, for a process that has time now and will have none later."""
    import alembic.command  # noqa: F401, PLC0415 - half a second, which most starts do not need


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to a revision."""
    # Alembic takes half a second to import, and most starts find nothing to do.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _create_roles_and_database(settings: Settings) -> None:
    admin = make_url(require(settings.database.admin_url, "MODELYARD_DATABASE__ADMIN_URL"))
    name = make_url(require(settings.database.owner_url, "MODELYARD_DATABASE__OWNER_URL")).database
    if not name:
        raise RuntimeError("MODELYARD_DATABASE__OWNER_URL names no database")
    conninfo = admin.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATE_LOCK,))
        for role in LOGIN_ROLES:
            secret = require(getattr(settings.roles, role), f"MODELYARD_ROLES__{role.upper()}")
            _ensure_role(connection, role, login=True)
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(f"modelyard_{role}"), sql.Literal(secret))
            )
        for role in NOLOGIN_ROLES:
            _ensure_role(connection, role, login=False)
        # The owner hands functions to auth; the controller acts as app for one tenant at a time.
        connection.execute("GRANT modelyard_auth TO modelyard_owner WITH INHERIT FALSE, SET TRUE")
        connection.execute("GRANT modelyard_app TO modelyard_controller WITH INHERIT FALSE, SET TRUE")
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if exists is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER modelyard_owner TEMPLATE template0 ENCODING 'UTF8'").format(
                    sql.Identifier(name)
                )
            )
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        for role in LOGIN_ROLES:
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                    sql.Identifier(name), sql.Identifier(f"modelyard_{role}")
                )
            )


def _ensure_role(connection: psycopg.Connection, role: str, *, login: bool) -> None:
    name = f"modelyard_{role}"
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    if exists is None:
        connection.execute(
            sql.SQL("CREATE ROLE {} {} NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE").format(
                sql.Identifier(name), sql.SQL("LOGIN" if login else "NOLOGIN")
            )
        )
