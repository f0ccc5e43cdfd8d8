"""Lists by kind and of endpoints enter an index; looking a key up writes nothing, so it may share a transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COUNTS = (
    "k.token_hash = presented AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())"
)
IS_NEWS = "(k.last_used_at IS NULL OR k.last_used_at < clock_timestamp() - interval '1 minute')"
FUNCTIONS = {
    "auth_api_key": f"""
        CREATE FUNCTION auth_api_key(presented bytea)
        RETURNS TABLE (key_id uuid, organization_id uuid, account_id text, name text, role text, scopes text[],
                       is_use_news boolean)
        AS $$
            SELECT k.id, k.organization_id, o.account_id::text, k.name, k.role, k.scopes, {IS_NEWS}
            FROM public.api_keys k JOIN public.organizations o ON o.id = k.organization_id
            WHERE {COUNTS}
        $$ LANGUAGE sql STABLE""",
    "touch_api_key": f"""
        CREATE FUNCTION touch_api_key(presented bytea) RETURNS void
        AS $$
            UPDATE public.api_keys k SET last_used_at = clock_timestamp() WHERE {COUNTS} AND {IS_NEWS}
        $$ LANGUAGE sql VOLATILE""",
}


def upgrade() -> None:
    op.create_index("ix_jobs_list_kind", "jobs", ["organization_id", "kind", "created_at", "id"])
    op.create_index(
        "ix_endpoints_list",
        "endpoints",
        ["organization_id", "created_at", "id"],
        postgresql_where=sa.text("status <> 'deleted'"),
    )
    op.execute("DROP FUNCTION auth_api_key(bytea)")
    op.execute("GRANT CREATE ON SCHEMA public TO modelyard_auth")
    for name, statement in FUNCTIONS.items():
        op.execute(f"{statement} SECURITY DEFINER SET search_path = pg_catalog, pg_temp")
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO modelyard_app")
        op.execute(f"ALTER FUNCTION {name} OWNER TO modelyard_auth")
    op.execute("REVOKE CREATE ON SCHEMA public FROM modelyard_auth")
