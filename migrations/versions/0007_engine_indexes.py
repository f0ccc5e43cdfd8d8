"""Questions that the controllers ask of each instance and each waiting job, answered without reading the past."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_instances_requested_for",
        "instances",
        ["organization_id", "requested_for", "id"],
        postgresql_where=sa.text("requested_for IS NOT NULL"),
    )
    op.create_index("ix_instances_list", "instances", ["organization_id", "requested_at", "id"])
    op.create_index("ix_assignments_instance", "assignments", ["organization_id", "instance_id", "ended_at"])
