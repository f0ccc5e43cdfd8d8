"""`migrate`: roles, database, schema; a one-shot under an advisory lock. Everything else only checks.

As the server's administrator: create the roles (or renew their passwords) and the database, owned by
*owner*. As *owner*: run Alembic. `check_schema` lets any other process refuse a schema it does not know.
"""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Engine, create_engine, make_url, text

from backend.core.settings import Settings, require

MIGRATE_LOCK = 0x4D59  # one advisory lock for the whole cluster: "MY"
LOGIN_ROLES = ("owner", "app", "controller", "operator")
NOLOGIN_ROLES = ("auth",)


class SchemaUnknown(RuntimeError):
    """The database's schema is not the one this build knows."""


def migrate(settings: Settings) -> str:
    """Create roles and database where missing, upgrade the schema; returns the revision it is at now."""
    database = settings.database
    if database.admin_url is not None:
        _create_roles_and_database(settings)
    engine = create_engine(require(database.owner_url, "MODELYARD_DATABASE__OWNER_URL"))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATE_LOCK})
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return check_schema(engine)
    finally:
        engine.dispose()


def check_schema(engine: Engine) -> str:
    """The schema's revision. Raises SchemaUnknown unless it is exactly this build's newest."""
    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is None or current != head:
        raise SchemaUnknown(
            f"the database is at schema {current or 'none'}, this build needs {head}; run `modelyard migrate`"
        )
    return current


def knows_schema(revision: str) -> bool:
    """Whether this build can run on, or upgrade, a database at this revision."""
    return revision in {script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()}


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


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
