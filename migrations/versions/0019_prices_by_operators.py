"""Operators change prices by request: the app role may write the price list while an operator's session is presented."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

OPERATOR_IS_ACTING = """
    CREATE FUNCTION operator_is_acting() RETURNS boolean
    AS $$
        SELECT EXISTS (
            SELECT FROM public.sessions s
            JOIN public.users u ON u.id = s.user_id AND u.disabled_at IS NULL
            JOIN public.memberships m ON m.user_id = u.id AND m.organization_id = s.organization_id
            JOIN public.operators p ON p.user_id = u.id
            WHERE s.token_hash = sha256(convert_to(current_setting('app.operator_session', true), 'UTF8'))
              AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp())
    $$ LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp"""
"""Whether the transaction presents the session of an operator: its token in `app.operator_session`."""

CHARGED_AFTER = """
    CREATE FUNCTION operator_charged_after(priced_sku text, moment timestamptz) RETURNS boolean
    AS $$
        SELECT public.operator_is_acting() AND EXISTS (
            SELECT FROM public.charges c
            WHERE c.sku = priced_sku AND c.to_at >= moment AND (c.to_at > moment OR c.from_at >= moment))
    $$ LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp"""
"""Whether any tenant's charge of a SKU reaches beyond a moment; to an operator only."""

FUNCTIONS = {"operator_is_acting": OPERATOR_IS_ACTING, "operator_charged_after": CHARGED_AFTER}


def upgrade() -> None:
    op.create_index("ix_charges_sku_until", "charges", ["sku", "to_at"])
    op.add_column("prices", sa.Column("set_by", sa.Text(), nullable=False, server_default="system:seed"))
    op.execute("GRANT SELECT (sku, from_at, to_at) ON charges TO modelyard_auth")
    op.execute("CREATE POLICY auth ON charges FOR SELECT TO modelyard_auth USING (true)")
    op.execute("GRANT CREATE ON SCHEMA public TO modelyard_auth")
    for name, body in FUNCTIONS.items():
        op.execute(body)
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO modelyard_app")
        op.execute(f"ALTER FUNCTION {name} OWNER TO modelyard_auth")
    op.execute("REVOKE CREATE ON SCHEMA public FROM modelyard_auth")
    op.execute("GRANT INSERT, UPDATE (effective_to) ON prices TO modelyard_app")
    op.execute("ALTER TABLE prices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY controller ON prices TO modelyard_controller USING (true)")
    op.execute("CREATE POLICY operator ON prices FOR SELECT TO modelyard_operator USING (true)")
    op.execute("CREATE POLICY tenant ON prices FOR SELECT TO modelyard_app USING (true)")
    op.execute(
        "CREATE POLICY set_by_operator ON prices FOR INSERT TO modelyard_app WITH CHECK ((SELECT operator_is_acting()))"
    )
    op.execute(
        "CREATE POLICY ended_by_operator ON prices FOR UPDATE TO modelyard_app USING ((SELECT operator_is_acting()))"
    )
