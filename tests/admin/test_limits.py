"""An organization's request rate and quotas, set by operators: over the API, and on the machine."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from backend.audit.models import AuditEvent
from backend.core.db import Database
from backend.core.settings import Settings
from backend.identity.models import Organization
from tests.admin.conftest import Operator
from tests.cli.conftest import Command
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


def limits_of(tenant: Tenant) -> str:
    return f"/api/v1/admin/organizations/{tenant.organization_id}/limits"


def acts(database: Database, tenant: Tenant) -> list[tuple[str, str, str]]:
    with database.unit_of_work(tenant.scope) as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.id))
        return [(one.actor.partition(":")[0], one.action, one.resource_id) for one in rows]


def test_organizations_are_found_page_by_page(operator: Operator, make_tenant: Callable[[], Tenant]) -> None:
    made = {str(make_tenant().organization_id) for _ in range(3)}
    first = operator.client.get("/api/v1/admin/organizations", params={"limit": 2}).json()
    more = operator.client.get("/api/v1/admin/organizations", params={"limit": 2, "cursor": first["next_cursor"]})
    assert made <= {one["id"] for one in first["items"] + more.json()["items"]}
    (wanted,) = list(made)[:1]
    named = operator.client.get("/api/v1/admin/organizations", params={"text": wanted}).json()["items"]
    assert [one["id"] for one in named] == [wanted]


def test_limits_are_set_changed_and_taken_away(
    operator: Operator, tenant: Tenant, shape: str, app_database: Database
) -> None:
    path = limits_of(tenant)
    assert operator.client.get(path).json() == {
        "organization_id": str(tenant.organization_id), "requests_per_minute": None, "quotas": {},
    }  # fmt: skip
    wanted = {"requests_per_minute": 120, "quotas": {"*": 5, shape: 2}}
    assert operator.client.patch(path, json=wanted).status_code == 200
    assert operator.client.patch(path, json={"quotas": {shape: None}}).json()["quotas"] == {"*": 5}
    found = operator.client.get(path).json()
    assert (found["requests_per_minute"], found["quotas"]) == (120, {"*": 5})
    gone = operator.client.patch(path, json={"requests_per_minute": None, "quotas": {"*": None}}).json()
    assert (gone["requests_per_minute"], gone["quotas"]) == (None, {})
    assert acts(app_database, tenant) == [
        ("operator", "organization.set_rate", str(tenant.organization_id)),
        ("operator", "quota.set", "*"),
        ("operator", "quota.set", shape),
        ("operator", "quota.set", shape),
        ("operator", "organization.set_rate", str(tenant.organization_id)),
        ("operator", "quota.set", "*"),
    ]
    assert acts(app_database, operator.tenant)[-1][1] == "session.create"


def test_a_refused_change_leaves_all_as_it_was(operator: Operator, tenant: Tenant, app_database: Database) -> None:
    path, wanted = limits_of(tenant), {"requests_per_minute": 9, "quotas": {"ml.none": 1}}
    for key in ({}, {"Idempotency-Key": str(uuid4())}):
        answer = operator.client.patch(path, json=wanted, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "instance_type_unknown")
    assert operator.client.get(path).json()["requests_per_minute"] is None
    assert acts(app_database, tenant) == []


def test_with_an_idempotency_key_it_is_done_once(operator: Operator, tenant: Tenant, app_database: Database) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        answer = operator.client.patch(limits_of(tenant), json={"requests_per_minute": 7}, headers=key)
        assert answer.json()["requests_per_minute"] == 7
    assert len(acts(app_database, tenant)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_minute": -1},
        {"requests_per_minute": 10**9},
        {"requests_per_minute": "many"},
        {"quotas": {"*": -1}},
        {"quotas": {"": 1}},
        {"quotas": {"\x00": 1}},
        {"quotas": {f"t{number}": 1 for number in range(101)}},
        {"surprise": 1},
    ],
)
def test_what_is_no_limit_is_refused(operator: Operator, tenant: Tenant, wrong: dict[str, Any]) -> None:
    assert operator.client.patch(limits_of(tenant), json=wrong).status_code == 422


def test_members_read_and_set_nothing_here(make_client: Callable[..., TestClient], tenant: Tenant) -> None:
    owner = make_client(tenant)
    for answer in (
        owner.get("/api/v1/admin/organizations"),
        owner.get(limits_of(tenant)),
        owner.patch(limits_of(tenant), json={"requests_per_minute": 0}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_the_rate_counts(make_client: Callable[..., TestClient], operator: Operator, tenant: Tenant) -> None:
    assert operator.client.patch(limits_of(tenant), json={"requests_per_minute": 2}).status_code == 200
    client = make_client(tenant)
    answers = [client.get("/api/v1/projects") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"requests";q=2;w=60'


def test_on_the_machine(
    database_settings: Settings, tenant: Tenant, shape: str, app_database: Database, operator_database: Database
) -> None:
    url = database_settings.database.controller_url
    assert url is not None
    admin = Command({"MODELYARD_DATABASE__CONTROLLER_URL": url.get_secret_value()})
    with operator_database.unit_of_work() as session:
        account = (
            session.scalars(select(Organization).where(Organization.id == tenant.organization_id)).one().account_id
        )
    assert "usual number" in admin.ok("admin", "limits", account).stdout
    told = admin.ok("admin", "limits", account, "--rate", "600", "--quota", "*=8", "--quota", f"{shape}=2").stdout
    assert "600 requests per minute" in told
    assert "all instance types together: 8 at once" in told
    found = admin.json("admin", "limits", str(tenant.organization_id), "--quota", f"{shape}=", "--rate", "usual")
    assert (found["requests_per_minute"], found["quotas"]) == (None, {"*": 8})
    assert {one[0] for one in acts(app_database, tenant)} == {"host"}
    for wrong in (("--rate", "many"), ("--rate", "-4"), ("--quota", "4"), ("--quota", "*=many")):
        assert admin("admin", "limits", account, *wrong).status == 2
    assert admin("admin", "limits", "999999999999").status == 1
    assert admin("admin", "limits", account, "--quota", "ml.none=1").status == 1
