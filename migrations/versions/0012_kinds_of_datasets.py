"""Datasets of tables and texts, and imports."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MOMENT = sa.TIMESTAMP(timezone=True)
TENANT = "(SELECT nullif(current_setting('app.organization_id', true), '')::uuid)"
SECRET = "access_encrypted"  # noqa: S105 - the name of a column


def upgrade() -> None:
    op.add_column("datasets", sa.Column("target_column", sa.Text(), nullable=True))
    op.add_column("datasets", sa.Column("column_types", JSONB(), server_default="{}", nullable=False))
    op.add_column("dataset_versions", sa.Column("kind", sa.Text(), server_default="image", nullable=False))
    op.add_column("dataset_versions", sa.Column("target_column", sa.Text(), nullable=True))
    op.add_column("dataset_versions", sa.Column("tally_sha256", sa.String(64), nullable=True))
    columns: list[sa.Column[Any]] = [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column(SECRET, sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("errors", JSONB(), server_default="[]", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("cancel_requested_at", MOMENT, nullable=True),
        sa.Column("received_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("entity_tag", sa.Text(), nullable=True),
        sa.Column("failed_tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("file_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", MOMENT, nullable=True),
    ]
    op.create_table(
        "dataset_imports",
        *columns,
        sa.PrimaryKeyConstraint("id", name="pk_dataset_imports"),
        sa.UniqueConstraint("organization_id", "id", name="uq_dataset_imports_organization_id_id"),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_dataset_imports_organization_id"),
        sa.ForeignKeyConstraint(
            ["organization_id", "dataset_id"],
            ["datasets.organization_id", "datasets.id"],
            name="fk_dataset_imports_organization_id_dataset_id",
        ),
    )
    op.create_index(
        "ix_dataset_imports_due", "dataset_imports", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index("ix_dataset_imports_list", "dataset_imports", ["organization_id", "dataset_id", "id"])
    _secure([column.name for column in columns])


def _secure(columns: list[str]) -> None:
    shown = ", ".join(name for name in columns if name != SECRET)
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON dataset_imports TO modelyard_app, modelyard_controller")
    op.execute(f"GRANT SELECT ({shown}) ON dataset_imports TO modelyard_operator")
    op.execute("ALTER TABLE dataset_imports ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON dataset_imports TO modelyard_app USING (organization_id = {TENANT})")
    op.execute("CREATE POLICY controller ON dataset_imports TO modelyard_controller USING (true)")
    op.execute("CREATE POLICY operator ON dataset_imports FOR SELECT TO modelyard_operator USING (true)")
