"""Operators: who may see the admin console; what the control worker's ticks last did; holds that only they lift."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SESSION = """
    CREATE FUNCTION auth_session(presented bytea)
    RETURNS TABLE (session_id uuid, organization_id uuid, account_id text, user_id uuid, email text,
                   full_name text, role text, is_operator boolean)
    AS $$
        SELECT s.id, s.organization_id, o.account_id::text, u.id, u.email, u.full_name, m.role,
               EXISTS (SELECT FROM public.operators p WHERE p.user_id = u.id)
        FROM public.sessions s
        JOIN public.users u ON u.id = s.user_id AND u.disabled_at IS NULL
        JOIN public.memberships m ON m.user_id = u.id AND m.organization_id = s.organization_id
        JOIN public.organizations o ON o.id = s.organization_id
        WHERE s.token_hash = presented AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
    $$ LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp"""


def upgrade() -> None:
    _make_operators()
    op.create_table(
        "control_ticks",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("ran_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("every_seconds", sa.Double(), nullable=False),
        sa.Column("failed_at", sa.TIMESTAMP(timezone=True)),
        sa.Column("failure", sa.Text()),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON control_ticks TO modelyard_controller")
    op.execute("GRANT SELECT ON control_ticks TO modelyard_operator")
    op.add_column("spending_holds", sa.Column("placed_by", sa.Text()))
    op.execute("GRANT SELECT (placed_by) ON spending_holds TO modelyard_operator")
    op.create_index(
        "ix_jobs_unfinished",
        "jobs",
        ["id"],
        postgresql_where=sa.text("status NOT IN ('completed', 'failed', 'stopped')"),
    )


def _make_operators() -> None:
    """The app role has no right here at all: it learns of operators through the function that finds sessions."""
    op.create_table(
        "operators",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", name="fk_operators_user_id"), primary_key=True),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column(
            "granted_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON operators TO modelyard_controller")
    op.execute("GRANT SELECT ON operators TO modelyard_operator, modelyard_auth")
    # Platforms of before: whoever the first boot made the owner of the first organization is their operator.
    # FORCE hides the rows from their owner too; it is off for this one statement of the transaction.
    op.execute("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "INSERT INTO operators (user_id, granted_by)"
        " SELECT id, 'system:migration' FROM users WHERE email = 'owner@modelyard.local'"
    )
    op.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")
    op.execute("DROP FUNCTION auth_session(bytea)")
    op.execute("GRANT CREATE ON SCHEMA public TO modelyard_auth")
    op.execute(SESSION)
    op.execute("REVOKE ALL ON FUNCTION auth_session FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION auth_session TO modelyard_app")
    op.execute("ALTER FUNCTION auth_session OWNER TO modelyard_auth")
    op.execute("REVOKE CREATE ON SCHEMA public FROM modelyard_auth")
