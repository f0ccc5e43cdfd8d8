"""Roles' rights, FORCE row-level security, and the functions that find whose a credential is."""

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What the app role may do to each table; row-level security then narrows it to its tenant's rows.
ALL = "SELECT, INSERT, UPDATE, DELETE"
CHANGE = "SELECT, INSERT, UPDATE"
APPEND = "SELECT, INSERT"
READ = "SELECT"
APP = {
    "organizations": "SELECT, UPDATE",
    "users": CHANGE,
    "memberships": ALL,
    "sessions": CHANGE,
    "api_keys": CHANGE,
    "organization_keys": CHANGE,
    "audit_events": APPEND,
    "idempotency_keys": ALL,
    "events": APPEND,
    "projects": ALL,
    "prices": READ,
    "usage_records": "SELECT, INSERT, UPDATE (rated_at)",
    "charges": APPEND,
    "budgets": ALL,
    "spending_holds": CHANGE,
    "instance_types": READ,
    "instances": CHANGE,
    "instance_heartbeats": ALL,
    "assignments": CHANGE,
    "assignment_heartbeats": ALL,
    "reports": CHANGE,
    "report_cursors": CHANGE,
    "holds": CHANGE,
    "quotas": ALL,
    "api_uptime": CHANGE,
    "blobs": ALL,
    "datasets": ALL,
    "uploads": ALL,
    "upload_parts": ALL,
    "dataset_files": ALL,
    "dataset_versions": "SELECT, INSERT, UPDATE (tags)",
    "models": ALL,
    "model_versions": "SELECT, INSERT, UPDATE (approval_status, tags)",
    "jobs": CHANGE,
    "attempts": CHANGE,
    "checkpoints": "SELECT, INSERT, DELETE",
    "metric_chunks": APPEND,
    "log_chunks": APPEND,
    "endpoints": CHANGE,
    "endpoint_configs": APPEND,
    "production_variants": APPEND,
    "replicas": CHANGE,
    "usage_segments": APPEND,
    "variant_traffic": APPEND,
}
# Global tables without a tenant; no row-level security, only rights.
GLOBAL = ("prices", "instance_types", "api_uptime", "route_table", "gateways")
# The operator reads everything but secrets.
SECRET_COLUMNS = {
    "users": ("password_hash",),
    "sessions": ("token_hash",),
    "api_keys": ("token_hash", "secret_encrypted"),
    "organization_keys": ("wrapped_key",),
    "instances": ("token_hash",),
    "gateways": ("token_hash",),
    "idempotency_keys": ("body", "request_hash"),
    "assignments": ("spec",),
}
TENANT = "(SELECT nullif(current_setting('app.organization_id', true), '')::uuid)"
AUTH_READS = (
    "api_keys",
    "sessions",
    "users",
    "memberships",
    "instances",
    "organizations",
    "gateways",
    "route_table",
)

FUNCTIONS = {
    "auth_api_key(presented bytea)": """
        RETURNS TABLE (key_id uuid, organization_id uuid, account_id text, name text, role text, scopes text[])
        AS $$
            UPDATE public.api_keys k SET last_used_at = clock_timestamp()
            WHERE k.token_hash = presented AND k.revoked_at IS NULL
              AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
              AND (k.last_used_at IS NULL OR k.last_used_at < clock_timestamp() - interval '1 minute');
            SELECT k.id, k.organization_id, o.account_id::text, k.name, k.role, k.scopes
            FROM public.api_keys k JOIN public.organizations o ON o.id = k.organization_id
            WHERE k.token_hash = presented AND k.revoked_at IS NULL
              AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
        $$ LANGUAGE sql VOLATILE""",
    "auth_session(presented bytea)": """
        RETURNS TABLE (session_id uuid, organization_id uuid, account_id text, user_id uuid, email text,
                       full_name text, role text)
        AS $$
            SELECT s.id, s.organization_id, o.account_id::text, u.id, u.email, u.full_name, m.role
            FROM public.sessions s
            JOIN public.users u ON u.id = s.user_id AND u.disabled_at IS NULL
            JOIN public.memberships m ON m.user_id = u.id AND m.organization_id = s.organization_id
            JOIN public.organizations o ON o.id = s.organization_id
            WHERE s.token_hash = presented AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
        $$ LANGUAGE sql STABLE""",
    "auth_password(presented_email text)": """
        RETURNS TABLE (user_id uuid, password_hash text, organization_id uuid, role text)
        AS $$
            SELECT u.id, u.password_hash, m.organization_id, m.role
            FROM public.users u JOIN public.memberships m ON m.user_id = u.id
            WHERE lower(u.email) = lower(presented_email) AND u.disabled_at IS NULL
            ORDER BY m.created_at, m.id
        $$ LANGUAGE sql STABLE""",
    "auth_instance(presented bytea)": """
        RETURNS TABLE (instance_id uuid, organization_id uuid, status text)
        AS $$
            SELECT i.id, i.organization_id, i.status FROM public.instances i
            WHERE i.token_hash = presented AND i.terminated_at IS NULL
        $$ LANGUAGE sql STABLE""",
    "auth_gateway(presented bytea)": """
        RETURNS TABLE (gateway_id uuid, name text)
        AS $$
            SELECT g.id, g.name FROM public.gateways g WHERE g.token_hash = presented
        $$ LANGUAGE sql STABLE""",
    "gateway_routes(presented bytea, known_version bigint)": """
        RETURNS TABLE (version bigint, body jsonb)
        AS $$
            SELECT r.version, r.body FROM public.route_table r
            WHERE r.version <> known_version
              AND EXISTS (SELECT 1 FROM public.gateways g WHERE g.token_hash = presented)
        $$ LANGUAGE sql STABLE""",
}


def upgrade() -> None:
    op.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    op.execute(
        "GRANT USAGE ON SCHEMA public TO modelyard_app, modelyard_controller, modelyard_operator, modelyard_auth"
    )
    tables = op.get_bind().execute(
        text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    )
    for table in sorted(tables.scalars()):
        if table != "alembic_version":
            _secure(table)
    op.execute("GRANT SELECT ON alembic_version TO modelyard_app, modelyard_controller, modelyard_operator")
    _create_functions()


def _secure(table: str) -> None:
    if table in APP:
        op.execute(f"GRANT {APP[table]} ON {table} TO modelyard_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO modelyard_controller")
    _grant_operator(table)
    if table in AUTH_READS:
        op.execute(f"GRANT SELECT ON {table} TO modelyard_auth")
    if table in GLOBAL:
        return
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} TO modelyard_app USING ({_mine(table)})")
    op.execute(f"CREATE POLICY controller ON {table} TO modelyard_controller USING (true)")
    op.execute(f"CREATE POLICY operator ON {table} FOR SELECT TO modelyard_operator USING (true)")
    if table == "users":
        op.execute("CREATE POLICY invite ON users FOR INSERT TO modelyard_app WITH CHECK (true)")
    if table in AUTH_READS:
        op.execute(f"CREATE POLICY auth ON {table} TO modelyard_auth USING (true)")


def _mine(table: str) -> str:
    if table == "organizations":
        return f"id = {TENANT}"
    if table == "users":
        return f"EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = users.id AND m.organization_id = {TENANT})"
    return f"organization_id = {TENANT}"


def _grant_operator(table: str) -> None:
    hidden = SECRET_COLUMNS.get(table)
    if hidden is None:
        op.execute(f"GRANT SELECT ON {table} TO modelyard_operator")
        return
    columns = op.get_bind().execute(
        text("SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = :t"),
        {"t": table},
    )
    shown = ", ".join(sorted(set(columns.scalars()) - set(hidden)))
    op.execute(f"GRANT SELECT ({shown}) ON {table} TO modelyard_operator")


def _create_functions() -> None:
    op.execute("GRANT UPDATE (last_used_at) ON api_keys TO modelyard_auth")
    op.execute("GRANT CREATE ON SCHEMA public TO modelyard_auth")
    for signature, body in FUNCTIONS.items():
        name = signature.split("(")[0]
        op.execute(f"CREATE FUNCTION {signature} {body} SECURITY DEFINER SET search_path = pg_catalog, pg_temp")
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO modelyard_app")
        op.execute(f"ALTER FUNCTION {name} OWNER TO modelyard_auth")
    op.execute("REVOKE CREATE ON SCHEMA public FROM modelyard_auth")
