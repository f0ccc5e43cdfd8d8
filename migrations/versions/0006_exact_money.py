"""Postgres itself refuses money that is not exact: whole thousandths, nine decimals, amount = quantity x price."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint("nine_decimals", "prices", "amount = round(amount, 9)")
    op.create_check_constraint("whole_thousandths", "usage_records", "quantity = round(quantity, 3)")
    op.create_check_constraint("amount_exact", "charges", "amount = quantity * unit_price")
