"""What each gateway says it has applied, and since which version of the routing table an endpoint is in it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("gateways", sa.Column("known_version", sa.BigInteger, nullable=True))
    op.add_column("gateways", sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("endpoints", sa.Column("route_version", sa.BigInteger, nullable=True))
    op.execute("GRANT SELECT (known_version, seen_at) ON gateways TO modelyard_operator")
    op.execute("GRANT UPDATE (known_version, seen_at) ON gateways TO modelyard_auth")
    op.execute("GRANT CREATE ON SCHEMA public TO modelyard_auth")
    # No row: no gateway has this token.
    op.execute(
        """
        CREATE FUNCTION gateway_seen(presented bytea, applied bigint) RETURNS TABLE (is_news boolean) AS $$
            UPDATE public.gateways g SET known_version = applied, seen_at = clock_timestamp()
            FROM (SELECT id, known_version FROM public.gateways WHERE token_hash = presented FOR UPDATE) AS before
            WHERE g.id = before.id
            RETURNING before.known_version IS DISTINCT FROM applied
        $$ LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        """
    )
    op.execute("REVOKE ALL ON FUNCTION gateway_seen FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION gateway_seen TO modelyard_app")
    op.execute("ALTER FUNCTION gateway_seen OWNER TO modelyard_auth")
    op.execute("DROP FUNCTION auth_gateway(bytea)")
    op.execute("REVOKE CREATE ON SCHEMA public FROM modelyard_auth")
