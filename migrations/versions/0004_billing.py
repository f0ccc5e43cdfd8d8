"""Which budget placed a spending hold, and at which limit."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("spending_holds", sa.Column("budget_id", sa.Uuid(), nullable=True))
    op.add_column("spending_holds", sa.Column("limit_amount", sa.Numeric(38, 12), nullable=True))
