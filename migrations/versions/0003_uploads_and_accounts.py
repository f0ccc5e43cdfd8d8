"""Uploads say why they ended; accounts without a membership can be added again; unsealed events have an index."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _uploads()
    _accounts()
    op.execute("CREATE INDEX ix_audit_events_unsealed ON audit_events (at, id) WHERE sequence IS NULL")


def _uploads() -> None:
    op.add_column("uploads", sa.Column("label", sa.Text()))
    op.add_column("uploads", sa.Column("status_reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("uploads", sa.Column("errors", postgresql.JSONB(), nullable=False, server_default="[]"))
    op.create_index("ix_uploads_open", "uploads", ["expires_at"], postgresql_where=sa.text("status = 'open'"))


def _accounts() -> None:
    op.execute("GRANT CREATE ON SCHEMA public TO modelyard_auth")
    op.execute(
        """
        CREATE FUNCTION auth_orphan_user(presented_email text) RETURNS uuid AS $$
            SELECT u.id FROM public.users u
            WHERE lower(u.email) = lower(presented_email) AND u.disabled_at IS NULL
              AND NOT EXISTS (SELECT 1 FROM public.memberships m WHERE m.user_id = u.id)
        $$ LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        """
    )
    op.execute("REVOKE ALL ON FUNCTION auth_orphan_user FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION auth_orphan_user TO modelyard_app, modelyard_controller")
    op.execute("ALTER FUNCTION auth_orphan_user OWNER TO modelyard_auth")
    op.execute("REVOKE CREATE ON SCHEMA public FROM modelyard_auth")
    op.execute("CREATE INDEX ix_api_keys_created_by ON api_keys (organization_id, created_by)")
    op.execute("CREATE INDEX ix_sessions_user ON sessions (organization_id, user_id)")
