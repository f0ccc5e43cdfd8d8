"""What an endpoint's page shows: latencies of calls, since when a config answers, and a session's own key to call it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("variant_traffic", sa.Column("latency", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")))
    op.add_column("endpoint_configs", sa.Column("live_at", sa.TIMESTAMP(timezone=True), nullable=True))
    # What answers now has answered since it was made, as far as anybody can still tell.
    op.execute(
        "UPDATE endpoint_configs c SET live_at = c.created_at FROM endpoints e"
        " WHERE e.organization_id = c.organization_id AND e.live_config_id = c.id"
    )
    op.execute("GRANT UPDATE (live_at) ON endpoint_configs TO modelyard_app")
    op.add_column("api_keys", sa.Column("session_id", sa.Uuid, nullable=True))
    op.create_foreign_key(
        "fk_api_keys_organization_id_session_id",
        "api_keys",
        "sessions",
        ["organization_id", "session_id"],
        ["organization_id", "id"],
    )
    op.create_index(
        "ix_api_keys_session",
        "api_keys",
        ["organization_id", "session_id"],
        postgresql_where=sa.text("session_id IS NOT NULL"),
    )
    op.execute("GRANT SELECT (session_id) ON api_keys TO modelyard_operator")
