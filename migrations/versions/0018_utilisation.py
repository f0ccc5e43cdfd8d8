"""What assignments use of their instances, as their agents measure it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLE = "utilisation_chunks"
TENANT = "(SELECT nullif(current_setting('app.organization_id', true), '')::uuid)"
COLUMNS = (
    "times",
    "spans",
    "cpu_cores",
    "memory_bytes",
    "read_bytes_per_second",
    "written_bytes_per_second",
    "gpu_share",
    "gpu_memory_bytes",
)


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), primary_key=True, nullable=False),
        sa.Column("organization_id", sa.Uuid(), sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("cpu_count", sa.Double(), nullable=False),
        sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=False),
        sa.Column("gpu_count", sa.Integer(), nullable=False),
        sa.Column("gpu_memory_limit_bytes", sa.BigInteger(), nullable=False),
        *(sa.Column(name, postgresql.ARRAY(sa.Double()), nullable=False) for name in COLUMNS),
        sa.Column(
            "received_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.UniqueConstraint("assignment_id", "epoch", "seq"),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"], ["assignments.organization_id", "assignments.id"]
        ),
    )
    op.execute(f"GRANT SELECT, INSERT ON {TABLE} TO modelyard_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO modelyard_controller")
    op.execute(f"GRANT SELECT ON {TABLE} TO modelyard_operator")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {TABLE} TO modelyard_app USING (organization_id = {TENANT})")
    op.execute(f"CREATE POLICY controller ON {TABLE} TO modelyard_controller USING (true)")
    op.execute(f"CREATE POLICY operator ON {TABLE} FOR SELECT TO modelyard_operator USING (true)")
