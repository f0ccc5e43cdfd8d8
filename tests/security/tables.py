"""What each database role may do with each table, read from Postgres's catalogue and tried out."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.core.db import Database, Scope
from backend.tables import METADATA

ROLES = ("modelyard_app", "modelyard_controller", "modelyard_operator", "modelyard_auth")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")
OF_NO_TENANT = {
    "alembic_version": "the schema's revision",
    "api_uptime": "when the API was up; no tenant's",
    "control_ticks": "when the control worker ran what; no tenant's",
    "gateways": "tokens of the platform's own gateways; the app cannot read them",
    "instance_types": "shapes, the same for all",
    "operators": "who may see the admin console; the app can neither read nor write it",
    "route_table": "all tenants' routes, for gateways only; the app cannot read it",
}
"""Tables without row-level security, and why."""
BY_ANOTHER_COLUMN = {
    "prices": "prices, the same for all: everybody reads, an operator's session writes",
    "organizations": "the tenant itself: its id is compared",
    "users": "people, who may be members of several organizations: seen through memberships",
}
"""Tables with row-level security but no `organization_id`."""
WITHOUT_A_KEY = {
    ("assignment_heartbeats", "assignment_id"): "narrow and written often; only ever read beside its assignment",
    ("instance_heartbeats", "instance_id"): "narrow and written often; only ever read beside its instance",
    ("report_cursors", "assignment_id"): "narrow and written often; only ever read beside its assignment",
    ("assignments", "resource_id"): "a job's or an endpoint's id, by subject_kind",
    ("assignments", "subject_id"): "an attempt's or a replica's id, by subject_kind",
    ("assignments", "project_id"): "copied from the subject for the bill, and outlives nothing",
    ("attempts", "assignment_id"): "the two refer to each other; the assignment's subject is checked",
    ("charge_days", "project_id"): "of charges, which refer to it",
    ("charges", "resource_id"): "a job's or an endpoint's id, by resource_kind",
    ("dataset_files", "upload_id"): "uploads are swept away, their files stay",
    ("endpoints", "live_config_id"): "the two refer to each other; the config has the key",
    ("endpoints", "wanted_config_id"): "the two refer to each other; the config has the key",
    ("event_deliveries", "event_id"): "the event may be of no row: a test's",
    ("event_deliveries", "resource_id"): "a job's or an endpoint's id, by resource_kind",
    ("events", "resource_id"): "of any kind, by resource_kind",
    ("jobs", "reads_dataset_version_id"): "computed from `inputs`; checked when the job is submitted",
    ("jobs", "reads_model_version_id"): "computed from `inputs`; checked when the job is submitted",
    ("model_versions", "attempt_id"): "lineage; the job has the key",
    ("outbox", "event_id"): "its event's row is written with it",
    ("replicas", "assignment_id"): "the two refer to each other; the assignment's subject is checked",
    ("spending_holds", "budget_id"): "a hold outlives its budget",
    ("usage_records", "resource_id"): "a job's or an endpoint's id, by resource_kind",
    ("usage_records", "source_id"): "an attempt's, a replica's or a segment's id, by source_kind",
    ("usage_segments", "segment_id"): "its own id, made by the replica",
    ("variant_traffic", "key_id"): "keys are deleted, their traffic stays; checked when a segment is accepted",
    ("variant_traffic", "replica_id"): "the segment has the key",
}
"""Ids in tenant tables that no foreign key ties down, and why."""


@dataclass(frozen=True)
class Table:
    """One table of the schema."""

    name: str
    forced: bool
    rights: dict[str, str]
    """By role, the letters of what it may do: SIUD, a letter in brackets for some columns only."""


def tenant_tables() -> list[str]:
    """Tables whose rows belong to one organization."""
    return sorted(name for name, table in METADATA.tables.items() if "organization_id" in table.columns)


def read_tables(session: Session) -> list[Table]:
    """Every table that Postgres has."""
    rows = session.execute(
        text(
            "SELECT relname, oid, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname"
        )
    ).all()
    return [Table(row.relname, row.forced, {role: _rights(session, role, row.oid) for role in ROLES}) for row in rows]


def _rights(session: Session, role: str, oid: int) -> str:
    found = ""
    for verb in VERBS:
        asked = {"role": role, "oid": oid, "verb": verb}
        if session.scalar(text("SELECT has_table_privilege(:role, :oid, :verb)"), asked):
            found += verb[0]
        elif verb != "DELETE" and session.scalar(text("SELECT has_any_column_privilege(:role, :oid, :verb)"), asked):
            found += f"({verb[0]})"
    return found


def attempts_on(database: Database, scope: Scope, table: str, victim: Scope) -> dict[str, object]:
    """What the app role of one tenant gets of another's rows, by verb: a count, or Postgres's refusal."""
    column = "id" if table == "organizations" else "organization_id"
    statements = {
        "SELECT": f"SELECT count(*) FROM {table} WHERE {column} = :victim",  # noqa: S608 - the catalogue's own names
        "UPDATE": f"UPDATE {table} SET {column} = {column} WHERE {column} = :victim",  # noqa: S608 - same
        "STEAL": f"UPDATE {table} SET {column} = :victim WHERE {column} = :own",  # noqa: S608 - same
        "DELETE": f"DELETE FROM {table} WHERE {column} = :victim",  # noqa: S608 - same
        "INSERT": f"INSERT INTO {table} ({column}) VALUES (:victim)",  # noqa: S608 - same
    }
    found: dict[str, object] = {}
    ids = {"victim": victim.organization_id, "own": scope.organization_id}
    for verb, statement in statements.items():
        try:
            with database.unit_of_work(scope) as session:
                result = session.execute(text(statement), ids)
                found[verb] = result.scalar() if verb == "SELECT" else result.rowcount  # type: ignore[attr-defined]  # of a cursor
                session.rollback()
        except DBAPIError as error:
            found[verb] = getattr(error.orig, "sqlstate", None)
    return found
