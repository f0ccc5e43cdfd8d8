"""Sealing and verifying the audit's hash chain; every mutating call leaves an event."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from backend.audit.models import AuditEvent
from backend.audit.service import record, seal_pending, verify_chain
from backend.core.db import Database
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
MakeTenant = Callable[[], Tenant]


def write(database: Database, tenant: Tenant, count: int) -> None:
    for number in range(count):
        with database.unit_of_work(tenant.scope) as session:
            detail = {"number": number, "float": 0.1, "text": "ä\U0001f600", "nested": {"b": [1, None], "a": True}}
            record(
                session,
                "test",
                tenant.scope,
                action="test.act",
                resource_kind="test",
                resource_id=str(number),
                detail=detail,
            )


def seal(database: Database) -> int:
    with database.unit_of_work() as session:
        return seal_pending(session, 10_000)


def chain(database: Database, tenant: Tenant) -> tuple[int, int | None]:
    with database.unit_of_work(tenant.scope) as session:
        report = verify_chain(session, tenant.scope)
    return report.checked, report.broken_at


def test_a_chain_per_organization_grows_and_is_whole(
    app_database: Database, controller_database: Database, make_tenant: MakeTenant
) -> None:
    first, second = make_tenant(), make_tenant()
    write(app_database, first, 3)
    write(app_database, second, 2)
    assert chain(app_database, first) == (0, None)
    seal(controller_database)
    write(app_database, first, 2)
    seal(controller_database)
    assert seal(controller_database) == 0
    assert chain(app_database, first) == (5, None)
    assert chain(app_database, second) == (2, None)
    with app_database.unit_of_work(first.scope) as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.sequence)).all()
        assert [row.sequence for row in rows] == [1, 2, 3, 4, 5]
        assert rows[0].previous_hash == bytes(32)
        assert [row.previous_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]


@pytest.mark.parametrize(
    "change", [{"actor": "somebody else"}, {"detail": {}}, {"resource_id": "9"}, {"hash": bytes(32)}, None]
)
def test_a_change_is_found_where_it_is(
    app_database: Database, controller_database: Database, tenant: Tenant, change: dict[str, Any] | None
) -> None:
    write(app_database, tenant, 4)
    seal(controller_database)
    with controller_database.unit_of_work() as session:
        third = session.scalars(
            select(AuditEvent).where(AuditEvent.organization_id == tenant.organization_id, AuditEvent.sequence == 3)
        ).one()
        if change is None:
            session.delete(third)
        else:
            session.execute(update(AuditEvent).where(AuditEvent.id == third.id).values(**change))
    assert chain(app_database, tenant) == (2, 4 if change is None else 3)


def test_sealers_at_the_same_time_make_one_chain(
    app_database: Database, controller_database: Database, tenant: Tenant
) -> None:
    write(app_database, tenant, 10)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: seal(controller_database), range(8)))
    seal(controller_database)
    assert chain(app_database, tenant) == (10, None)


def test_the_api_can_only_append(app_database: Database, tenant: Tenant) -> None:
    write(app_database, tenant, 1)
    with pytest.raises(DBAPIError, match="permission denied"), app_database.unit_of_work(tenant.scope) as session:
        session.execute(update(AuditEvent).values(actor="nobody"))
    with pytest.raises(DBAPIError, match="permission denied"), app_database.unit_of_work(tenant.scope) as session:
        session.delete(session.scalars(select(AuditEvent)).one())


def test_who_did_what_is_listed_for_managers_only(
    make_client: Callable[..., TestClient], tenant: Tenant, make_tenant: MakeTenant, controller_database: Database
) -> None:
    owner = make_client(tenant)
    project = owner.post("/api/v1/projects", json={"name": "vision"}).json()["id"]
    owner.patch(f"/api/v1/projects/{project}", json={"description": "x"})
    key = owner.post("/api/v1/api-keys", json={"name": "robot"}).json()
    owner.delete(f"/api/v1/api-keys/{key['id']}")
    owner.delete(f"/api/v1/projects/{project}")
    member = owner.post(
        "/api/v1/members", json={"email": f"{project}@example.org", "full_name": "A", "role": "owner"}
    ).json()
    owner.patch(f"/api/v1/members/{member['user_id']}", json={"role": "owner"})
    listed = owner.get("/api/v1/audit-events").json()["items"]
    assert [item["action"] for item in reversed(listed)] == [
        "project.create",
        "project.update",
        "api_key.create",
        "api_key.revoke",
        "project.delete",
        "member.add",
        "member.change_role",
    ]
    me = owner.get("/api/v1/me").json()
    assert {item["actor"] for item in listed} == {f"api_key:{me['id']}"}
    assert key["token"] not in str(listed)
    seal(controller_database)
    report = owner.get("/api/v1/audit-events/chain").json()
    assert (report["checked"], report["broken_at"]) == (7, None)
    assert len(bytes.fromhex(report["head"])) == 32
    for role in ("developer", "viewer", "billing"):
        assert make_client(tenant, role).get("/api/v1/audit-events").status_code == 403
    assert make_client(make_tenant()).get("/api/v1/audit-events").json()["items"] == []
    assert UUID(listed[0]["id"]).version == 7
