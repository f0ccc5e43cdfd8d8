"""The billing API: exact strings, cursors, permissions, clear errors."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from backend.billing import service
from backend.core.db import Database
from backend.core.ids import new_id
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def bill(app_database: Database, controller_database: Database, tenant: Tenant) -> UUID:
    """Three slices of one job in March, charged."""
    sku, job_id = f"instance:test-{new_id()}:on-demand", new_id()
    with controller_database.unit_of_work() as session:
        service.set_price(session, sku, Decimal("0.000333333"), MARCH)
    with app_database.unit_of_work(tenant.scope) as session:
        for minute in range(3):
            values: dict[str, Any] = {
                "project_id": tenant.project_id,
                "source_kind": "attempt",
                "source_id": job_id,
                "resource_kind": "job",
                "resource_id": job_id,
                "resource_name": "digits",
                "sku": sku,
                "quantity": Decimal("59.999"),
                "from_at": MARCH + timedelta(hours=12 * minute),
                "to_at": MARCH + timedelta(hours=12 * minute, minutes=1),
                "detail": {},
            }
            service.record_usage(session, tenant.scope, **values)
    with controller_database.unit_of_work() as session:
        service.rate(session, 1000, settle_seconds=0)
    return job_id


def test_charges_come_in_pages_as_exact_strings(
    make_client: Callable[..., TestClient], tenant: Tenant, bill: UUID
) -> None:
    api = make_client(tenant, "viewer")
    first = api.get("/api/v1/charges", params={"limit": 2, "resource_id": str(bill)}).json()
    assert [item["amount"] for item in first["items"]] == ["0.019999646667"] * 2
    rest = api.get("/api/v1/charges", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert len(rest["items"]) == 1
    assert rest["next_cursor"] is None
    assert rest["items"][0]["quantity"] == "59.999"
    assert rest["items"][0]["unit_price"] == "0.000333333"


def test_the_summary_adds_up_every_way(make_client: Callable[..., TestClient], tenant: Tenant, bill: UUID) -> None:
    params = {"from": "2026-03-01T00:00:00Z", "to": "2026-04-01T00:00:00Z"}
    summary = make_client(tenant).get("/api/v1/costs/summary", params=params).json()
    assert summary["total"] == "0.059998940001"
    for key in ("by_resource", "by_sku", "by_project", "by_day"):
        assert sum(Decimal(line["amount"]) for line in summary[key]) == Decimal("0.059998940001"), key
    assert [line["day"] for line in summary["by_day"]] == ["2026-03-01", "2026-03-02"]
    assert summary["by_resource"][0]["resource_id"] == str(bill)
    assert summary["by_sku"][0]["quantity"] == "179.997"


def test_the_invoice_rounds_each_line_once(make_client: Callable[..., TestClient], tenant: Tenant, bill: UUID) -> None:
    invoice = make_client(tenant, "billing").get("/api/v1/invoices/2026-03").json()
    (line,) = invoice["lines"]
    assert (line["amount"], line["rounded"], line["resource_id"]) == ("0.059998940001", "0.06", str(bill))
    assert (invoice["exact_total"], invoice["total"]) == ("0.059998940001", "0.06")
    assert invoice["closed"] is True
    assert make_client(tenant).get("/api/v1/invoices/2026-02").json()["lines"] == []


def test_another_tenant_sees_nothing(
    make_client: Callable[..., TestClient], make_tenant: Callable[[], Tenant], bill: UUID
) -> None:
    api = make_client(make_tenant())
    assert api.get("/api/v1/charges", params={"resource_id": str(bill)}).json()["items"] == []
    assert api.get("/api/v1/usage").json()["items"] == []
    assert api.get("/api/v1/invoices/2026-03").json()["total"] == "0"


def test_usage_and_prices_are_listed(make_client: Callable[..., TestClient], tenant: Tenant, bill: UUID) -> None:
    api = make_client(tenant)
    usage = api.get("/api/v1/usage", params={"resource_kind": "job"}).json()["items"]
    assert [item["resource_id"] for item in usage] == [str(bill)] * 3
    assert all(item["rated_at"] for item in usage)
    prices = api.get("/api/v1/prices", params={"at": "2026-03-02T00:00:00Z"}).json()["items"]
    mine = [price for price in prices if price["sku"] == usage[0]["sku"]]
    assert [(price["amount"], price["unit"], price["effective_to"]) for price in mine] == [
        ("0.000333333", "second", None)
    ]


@pytest.mark.parametrize("month", ["2026-13", "march", "2026", "99999-01"])
def test_a_month_that_is_none_is_refused(make_client: Callable[..., TestClient], tenant: Tenant, month: str) -> None:
    answer = make_client(tenant).get(f"/api/v1/invoices/{month}")
    assert (answer.status_code, answer.json()["code"]) == (422, "month_not_valid")


def test_the_last_month_there_is_ends(make_client: Callable[..., TestClient], tenant: Tenant) -> None:
    assert make_client(tenant).get("/api/v1/invoices/9999-12").status_code == 422


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"cursor": "x"},
        {"from": "2026-03-01"},
        {"resource_id": "7"},
        {"from": "2026-03-01T00:00:00"},
        {"sku": "a\x00"},
        {"resource_kind": "\x00"},
    ],
)
def test_bad_parameters_are_refused(
    make_client: Callable[..., TestClient], tenant: Tenant, params: dict[str, Any]
) -> None:
    assert make_client(tenant).get("/api/v1/charges", params=params).status_code == 422


def test_budgets_are_made_changed_and_removed(make_client: Callable[..., TestClient], tenant: Tenant) -> None:
    api = make_client(tenant, "billing")
    made = api.post("/api/v1/budgets", json={"amount": "100.50", "hold_at_limit": True})
    assert made.status_code == 201
    budget = made.json()
    assert (budget["amount"], budget["spent"], budget["alerts"]) == ("100.5", "0", [])
    changed = api.patch(f"/api/v1/budgets/{budget['id']}", json={"amount": "7"}).json()
    assert (changed["amount"], changed["hold_at_limit"]) == ("7", True)
    assert [item["id"] for item in api.get("/api/v1/budgets").json()["items"]] == [budget["id"]]
    assert api.get("/api/v1/spending-holds").json() == {"items": []}
    assert api.delete(f"/api/v1/budgets/{budget['id']}").status_code == 204
    assert api.get(f"/api/v1/budgets/{budget['id']}").status_code == 404
    assert api.post(f"/api/v1/spending-holds/{new_id()}/lift").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"amount": "-1"},
        {"amount": "NaN"},
        {"amount": "0.00000000001"},
        {"amount": "1e30"},
        {"amount": "1", "alert_percents": [0]},
        {"amount": "1", "surprise": 1},
        {},
    ],
)
def test_a_bad_budget_is_refused(make_client: Callable[..., TestClient], tenant: Tenant, body: dict[str, Any]) -> None:
    assert make_client(tenant).post("/api/v1/budgets", json=body).status_code == 422


def test_a_developer_may_read_and_not_set_limits(make_client: Callable[..., TestClient], tenant: Tenant) -> None:
    api = make_client(tenant, "developer")
    assert api.get("/api/v1/budgets").status_code == 200
    assert api.post("/api/v1/budgets", json={"amount": "1"}).status_code == 403
    foreign = make_client(tenant).post("/api/v1/budgets", json={"amount": "1", "project_id": str(new_id())})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "project_not_found")
