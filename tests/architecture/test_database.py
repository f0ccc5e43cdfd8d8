"""Models and migrations say the same; what is unscoped is named."""

import ast

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Float, create_engine

from backend.core.settings import Settings
from backend.tables import METADATA
from tests.architecture.test_code import ROOT, sources

MONEY_ROOMS = ("backend/billing/",)
SECONDS = {"claim_unrated", "rate", "whole_milliseconds"}
"""Functions of billing that take measured seconds: they become exact where they enter."""
CROSSES_TENANTS = {
    "backend/administration.py": "what operators do on the host: operators and prices are no tenant's",
    "backend/admin/api.py": "operators read all organizations, as the role operator, which cannot write",
    "backend/billing/charging.py": "acts as the tenant whose usage is rated",
    "backend/core/http.py": "finds whose credential it is, then becomes that tenant's in the same transaction",
    "backend/core/idempotency.py": "within the caller's tenant; purging is the controller's",
    "backend/datasets/fetching.py": "acts as the tenant whose import is leased",
    "backend/datasets/importing.py": "acts as the tenant whose import is leased",
    "backend/datasets/sweep.py": "finds whose uploads are over, then acts as that tenant",
    "backend/endpoints/gateway_api.py": "reads the routing table by a gateway's token, through a function",
    "backend/events/publishing.py": "finds whose event is next in the outbox, then acts as that tenant",
    "backend/fleet/agent_auth.py": "finds whose instance token it is, through a function",
    "backend/identity/api.py": "logs in and out: who somebody is decides the tenant",
    "backend/identity/authentication.py": "finds whose credential it is, through a function",
    "backend/seed.py": "writes the first rows",
    "backend/uptime.py": "one row of no tenant",
    "frontend/backstage.py": "the admin console reads all tenants' rows, as the role operator, which cannot write",
    "frontend/services.py": "finds whose session it is, through a function",
    "worker/app.py": "notes when controls last ran; no tenant's",
    "worker/leases.py": "renews a lease by its token",
    "worker/tasks/audit.py": "seals every tenant's chain",
    "worker/tasks/billing.py": "finds whose usage is not rated, then acts as that tenant",
    "worker/tasks/endpoints.py": "leases endpoints, then acts as their tenant",
    "worker/tasks/events.py": "leases deliveries, then acts as their tenant",
    "worker/tasks/fleet.py": "leases instances, then acts as their tenant",
    "worker/tasks/idempotency.py": "purges kept answers that are over",
    "worker/tasks/imports.py": "leases imports, then acts as their tenant",
    "worker/tasks/jobs.py": "leases jobs, then acts as their tenant",
    "worker/undisturbed.py": "counts due instances of all tenants; acts for none",
}
"""Modules that open a transaction without a tenant, or become one tenant's; and why."""


@pytest.mark.unit
def test_transactions_without_a_tenant_are_named() -> None:
    found = set()
    for name, tree in sources("backend", "worker", "frontend"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called == "act_as" or (called == "unit_of_work" and not node.args and not node.keywords):
                found.add(name)
    assert found - {"backend/core/idempotency.py"} == set(CROSSES_TENANTS) - {"backend/core/idempotency.py"}


@pytest.mark.unit
def test_the_migrations_have_one_head() -> None:
    script = ScriptDirectory(str(ROOT / "migrations"))
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1


@pytest.mark.integration
def test_models_and_migrations_say_the_same(database_settings: Settings) -> None:
    url = database_settings.database.owner_url
    assert url is not None
    engine = create_engine(url.get_secret_value())
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False, "target_metadata": METADATA}
        )
        found = compare_metadata(context, METADATA)
    engine.dispose()
    assert found == []


@pytest.mark.unit
def test_money_is_never_a_float() -> None:
    exact = {"amount", "price", "quantity", "unit_price", "weight"}
    columns = [column for table in METADATA.tables.values() for column in table.columns if column.name in exact]
    assert len(columns) >= 5
    assert [str(column) for column in columns if isinstance(column.type, Float)] == []
    found = {
        function.name
        for name, tree in sources("backend")
        if name.startswith(MONEY_ROOMS)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if getattr(node, "id", "") == "float" or type(getattr(node, "value", None)) is float
    }
    assert found == SECONDS
