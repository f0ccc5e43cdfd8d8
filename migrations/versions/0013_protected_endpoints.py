"""Protected endpoints; indexes that say where a model version stands and what was compressed from it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("protected", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index("ix_production_variants_version", "production_variants", ["organization_id", "model_version_id"])
    op.create_index("ix_model_versions_parent", "model_versions", ["organization_id", "parent_version_id"])
