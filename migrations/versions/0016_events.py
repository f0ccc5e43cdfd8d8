"""Events told outside: outbox, subscriptions, deliveries. Lineage walks by indexes. A rate of requests of its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TENANT = "(SELECT nullif(current_setting('app.organization_id', true), '')::uuid)"
TABLES = {
    "outbox": "SELECT, INSERT, DELETE",
    "event_subscriptions": "SELECT, INSERT, UPDATE, DELETE",
    "event_deliveries": "SELECT, INSERT, UPDATE, DELETE",
    "event_delivery_attempts": "SELECT, INSERT, DELETE",
}
NOW = sa.text("clock_timestamp()")


def _id(name: str = "id") -> sa.Column[object]:
    return sa.Column(name, sa.Uuid(), nullable=False, primary_key=True)


def _organization() -> sa.Column[object]:
    return sa.Column("organization_id", sa.Uuid(), sa.ForeignKey("organizations.id"), nullable=False)


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=not now, server_default=NOW if now else None)


def _reference(column: str, table: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete=ondelete
    )


def _text(name: str, default: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def upgrade() -> None:
    _outbox()
    _subscriptions()
    _deliveries()
    for table, rights in TABLES.items():
        _secure(table, rights)
    _lineage()
    op.add_column("organizations", sa.Column("requests_per_minute", sa.BigInteger()))


def _outbox() -> None:
    op.create_table(
        "outbox",
        _id("event_id"),
        _organization(),
        _text("resource_kind"),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
    )
    op.create_index("ix_outbox_seq", "outbox", ["seq"])
    op.create_index("ix_outbox_organization", "outbox", ["organization_id", "seq"])


def _subscriptions() -> None:
    op.create_table(
        "event_subscriptions",
        _id(),
        _organization(),
        _time("created_at", now=True),
        _text("channel"),
        _text("target"),
        _text("description"),
        sa.Column("event_types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("project_id", sa.Uuid()),
        sa.Column("secret_encrypted", sa.LargeBinary()),
        _text("created_by"),
        _time("disabled_at"),
        _text("disabled_reason", ""),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        _time("failing_since"),
        sa.UniqueConstraint("organization_id", "id"),
        _reference("project_id", "projects"),
        sa.CheckConstraint("channel in ('webhook','email')", name="channel"),
        sa.CheckConstraint("(channel = 'webhook') = (secret_encrypted is not null)", name="secret_of_a_webhook"),
    )
    op.create_index("ix_event_subscriptions_list", "event_subscriptions", ["organization_id", "created_at", "id"])


def _deliveries() -> None:
    op.create_table(
        "event_deliveries",
        _id(),
        _organization(),
        _time("created_at", now=True),
        _time("due_at"),
        sa.Column("lease_token", sa.Uuid()),
        _time("lease_expires_at"),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger()),
        _text("event_type"),
        _text("resource_kind"),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        _text("resource_name"),
        _text("body"),
        sa.Column("replay_of", sa.Uuid()),
        sa.Column("attempt_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_response_status", sa.Integer()),
        _text("last_error", ""),
        _time("delivered_at"),
        _time("failed_at"),
        sa.UniqueConstraint("organization_id", "id"),
        _reference("subscription_id", "event_subscriptions", "CASCADE"),
        sa.CheckConstraint(
            "(due_at is not null) = (delivered_at is null and failed_at is null)", name="due_while_it_is_pending"
        ),
    )
    pending = sa.text("due_at IS NOT NULL")
    table = "event_deliveries"
    op.create_index("ix_event_deliveries_due", table, ["due_at"], postgresql_where=pending)
    op.create_index(
        "ix_event_deliveries_order", table, ["subscription_id", "resource_id", "seq"], postgresql_where=pending
    )
    op.create_index("ix_event_deliveries_list", table, ["organization_id", "created_at", "id"])
    op.create_index("ix_event_deliveries_of", table, ["organization_id", "subscription_id", "created_at", "id"])
    op.create_table(
        "event_delivery_attempts",
        _id(),
        _organization(),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        _time("at", now=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("response_status", sa.Integer()),
        _text("response_text"),
        _text("error"),
        _reference("delivery_id", "event_deliveries", "CASCADE"),
    )
    op.create_index("ix_event_delivery_attempts_of", "event_delivery_attempts", ["delivery_id", "number"])


def _secure(table: str, rights: str) -> None:
    op.execute(f"GRANT {rights} ON {table} TO modelyard_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO modelyard_controller")
    secret = "secret_encrypted"  # noqa: S105 - a column's name
    inspector = sa.inspect(op.get_bind())
    shown = ", ".join(sorted(str(each["name"]) for each in inspector.get_columns(table) if each["name"] != secret))
    op.execute(f"GRANT SELECT ({shown}) ON {table} TO modelyard_operator")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} TO modelyard_app USING (organization_id = {TENANT})")
    op.execute(f"CREATE POLICY controller ON {table} TO modelyard_controller USING (true)")
    op.execute(f"CREATE POLICY operator ON {table} FOR SELECT TO modelyard_operator USING (true)")


def _lineage() -> None:
    """What a job reads, as columns: an index over JSON cannot be entered below row-level security."""
    dataset = "coalesce(inputs -> 'training' ->> 'id', inputs -> 'dataset' ->> 'id')::uuid"
    op.add_column("jobs", sa.Column("reads_dataset_version_id", sa.Uuid(), sa.Computed(dataset, persisted=True)))
    model = "(inputs -> 'model' ->> 'id')::uuid"
    op.add_column("jobs", sa.Column("reads_model_version_id", sa.Uuid(), sa.Computed(model, persisted=True)))
    for column in ("reads_dataset_version_id", "reads_model_version_id"):
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_jobs_{column}", "jobs", ["organization_id", column, "id"], postgresql_where=where)
