"""When a replica was assigned and when it began to drain; indexes for the split of its bill and its failures."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replicas", sa.Column("assigned_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("replicas", sa.Column("draining_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.create_index("ix_variant_traffic_replica", "variant_traffic", ["organization_id", "replica_id", "from_at"])
    op.create_index("ix_replicas_config", "replicas", ["organization_id", "config_id", "ended_at"])
