"""Traffic refers to usage segments of its own organization only: the foreign key carries the organization."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_unique_constraint(
        "uq_usage_segments_organization_id_segment_id", "usage_segments", ["organization_id", "segment_id"]
    )
    op.drop_constraint("fk_variant_traffic_segment_id", "variant_traffic", type_="foreignkey")
    op.create_foreign_key(
        "fk_variant_traffic_organization_id_segment_id",
        "variant_traffic",
        "usage_segments",
        ["organization_id", "segment_id"],
        ["organization_id", "segment_id"],
    )
