"""Uploads say why they ended, and carry the label of a single file."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003_uploads"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("label", sa.Text()))
    op.add_column("uploads", sa.Column("status_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("errors", postgresql.JSONB(), nullable=False, server_default="[]"))
    op.create_index("ix_uploads_open", "uploads", ["expires_at"], postgresql_where=sa.text("status = 'open'"))
