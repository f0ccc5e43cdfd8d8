"""docs/reference/isolation.md: who may do what, read from the OpenAPI document and from a migrated database."""

import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session

from backend.app import create_app
from backend.core.migrate import migrate
from backend.core.settings import DatabaseSettings, RolePasswords, SecuritySettings, Settings
from backend.platform.embedded_postgres import EmbeddedPostgres
from tests.security.estate import operations
from tests.security.matrix import CREDENTIALS, NARROWED, NOBODIES, expected
from tests.security.tables import (
    BY_ANOTHER_COLUMN,
    OF_NO_TENANT,
    ROLES,
    WITHOUT_A_KEY,
    Table,
    read_tables,
    tenant_tables,
)

PAGE = Path(__file__).parents[1] / "reference" / "isolation.md"
HEAD = """# Isolation

<!-- Made by `python -m docs.generators.isolation`; do not edit. -->

Every route with every kind of credential, and every table with every database role. Both are read from what is in
force: a route's permission from the dependency that checks it, a table's rights from Postgres. Tests send each of
these requests and try each of these statements; a route or table that is not covered fails them.
"""
SIGNS = {
    "unauthorized": "401",
    "forbidden": "403",
    "cross_site_request": "403 ✕",
    "not found": "404",
    "allowed": "✓",
    "own only": "own",
    "public": "public",
}


def render(app: FastAPI, tables: list[Table]) -> str:
    """The page."""
    return "\n".join([HEAD, *_routes(app), *_tables(tables)])


def _routes(app: FastAPI) -> list[str]:
    shown = [each for each in CREDENTIALS if each not in NOBODIES[1:] and each not in NARROWED]
    lines = [
        "## Routes\n",
        f"*no credential*: {', '.join(NOBODIES)}. *cookie alone*: a session's cookie without a header of our own page.",
        "*stranger*: the owner of another organization. ✓ allowed · own: sees what is its own · 403 ✕: cross-site.",
        "A key whose scopes lack the permission gets 403 as well.\n",
        f"| route | permission | {' | '.join(['no credential', *shown[1:]])} |",
        f"|---|---|{'---|' * len(shown)}",
    ]
    for each in operations(app):
        signs = " | ".join(SIGNS[expected(each, credential)] for credential in shown)
        lines.append(f"| `{each.name}` | {each.permission or '-'} | {signs} |")
    return [*lines, ""]


def _tables(tables: list[Table]) -> list[str]:
    names = [role.removeprefix("modelyard_") for role in ROLES]
    lines = [
        "## Tables\n",
        "S select · I insert · U update · D delete; in brackets: some columns only. *forced*: row-level security that",
        "binds the owner too: the app role sees the rows of the transaction's tenant and no others, and the",
        "controller becomes the app role before it acts for a tenant.\n",
        f"| table | rows of | row-level security | {' | '.join(names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    tenants = set(tenant_tables())
    for table in tables:
        whose = "one organization" if table.name in tenants else (OF_NO_TENANT | BY_ANOTHER_COLUMN)[table.name]
        rights = " | ".join(table.rights[role] or "-" for role in ROLES)
        lines.append(f"| `{table.name}` | {whose} | {'forced' if table.forced else 'none'} | {rights} |")
    lines += [
        "",
        "## Ids without a foreign key\n",
        "Every foreign key between rows of organizations carries the organization. These ids have no key, and why:\n",
        "| column | why |",
        "|---|---|",
        *(f"| `{table}.{column}` | {why} |" for (table, column), why in sorted(WITHOUT_A_KEY.items())),
        "",
    ]
    return lines


def write() -> None:
    """Migrate a database of its own, and write the page."""
    with tempfile.TemporaryDirectory(prefix="mydocs-") as folder:
        base = Path(folder)
        base.chmod(0o711)
        server = EmbeddedPostgres(base / "home", base / "run", durable=False)
        server.start()
        try:
            settings = _settings(server, base)
            migrate(settings)
            url = settings.database.admin_url
            assert url is not None  # noqa: S101 - set just above
            engine = create_engine(make_url(url.get_secret_value()).set(database="modelyard"))
            with Session(engine) as session:
                tables = read_tables(session)
            engine.dispose()
            PAGE.write_text(render(create_app(settings), tables))
        finally:
            server.stop()


def _settings(server: EmbeddedPostgres, base: Path) -> Settings:
    admin = make_url(server.superuser_url("postgres")).set(drivername="postgresql+psycopg")
    roles = ("owner", "app", "controller", "operator")
    urls: dict[str, Any] = {
        f"{role}_url": SecretStr(
            admin.set(username=f"modelyard_{role}", password=role, database="modelyard").render_as_string(
                hide_password=False
            )
        )
        for role in roles
    }
    passwords: dict[str, Any] = {role: SecretStr(role) for role in roles}
    return Settings(
        environment="test",
        home=base / "home",
        database=DatabaseSettings(admin_url=SecretStr(admin.render_as_string(hide_password=False)), **urls),
        roles=RolePasswords(**passwords),
        security=SecuritySettings(master_key=SecretStr("A" * 43 + "=")),
    )


if __name__ == "__main__":
    write()
