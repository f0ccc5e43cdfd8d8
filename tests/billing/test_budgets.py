"""Budgets place holds on spending when charges reach them, and lift them again."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from backend.billing import budgets, service
from backend.billing.errors import BudgetNotFound, SpendingHoldNotFound
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Database, act_as
from backend.core.ids import new_id
from backend.projects.errors import ProjectNotFound
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


@pytest.fixture
def spend(app_database: Database, controller_database: Database, tenant: Tenant) -> Callable[[int], None]:
    """Charge the tenant so many dollars, now."""
    sku = f"instance:test-{new_id()}:spot"

    def charge(dollars: int) -> None:
        with app_database.unit_of_work(tenant.scope) as session:
            now = database_now(session)
            values: dict[str, Any] = {
                "project_id": tenant.project_id,
                "source_kind": "attempt",
                "source_id": new_id(),
                "resource_kind": "job",
                "resource_id": new_id(),
                "resource_name": "digits",
                "sku": sku,
                "quantity": Decimal(dollars),
                "from_at": now,
                "to_at": now,
                "detail": {},
            }
            service.record_usage(session, tenant.scope, **values)
        with controller_database.unit_of_work() as session:
            if not _priced(session, sku):
                service.set_price(session, sku, Decimal(1), now - timedelta(hours=1))
        with controller_database.unit_of_work() as session:
            service.rate(session, 1000, settle_seconds=0)

    return charge


def boss(tenant: Tenant) -> Principal:
    return Principal("user", new_id(), "Ada", tenant.organization_id, "123456789012", "billing")


def _priced(session: Session, sku: str) -> bool:
    return any(price.sku == sku for price in service.list_prices(session, at=None))


def check(database: Database, tenant: Tenant) -> int:
    with database.unit_of_work() as session:
        act_as(session, tenant.organization_id)
        return service.check_budgets(session, tenant.scope)


def make_budget(database: Database, tenant: Tenant, amount: int, **other: Any) -> UUID:
    values = {"project_id": None, "amount": Decimal(amount), "alert_percents": [50, 100], "hold_at_limit": True}
    with database.unit_of_work(tenant.scope) as session:
        return budgets.create_budget(session, boss(tenant), **{**values, **other}).budget.id


def held(database: Database, tenant: Tenant, project_id: UUID | None = None) -> bool:
    with database.unit_of_work(tenant.scope) as session:
        return service.open_hold(session, tenant.scope, project_id or tenant.project_id) is not None


def test_reaching_the_limit_holds_spending_until_the_budget_grows(
    app_database: Database, controller_database: Database, tenant: Tenant, spend: Callable[[int], None]
) -> None:
    budget_id = make_budget(app_database, tenant, 10)
    spend(9)
    assert check(controller_database, tenant) == 0
    assert not held(app_database, tenant)
    spend(1)
    assert check(controller_database, tenant) == 1
    assert check(controller_database, tenant) == 0
    assert held(app_database, tenant)
    with app_database.unit_of_work(tenant.scope) as session:
        status = budgets.change_budget(session, boss(tenant), budget_id, amount=Decimal(20))
        assert (status.spent, status.alerts, status.reached) == (Decimal(10), [50], False)
    assert check(controller_database, tenant) == 1
    assert not held(app_database, tenant)


def test_a_hold_lifted_by_a_person_stays_lifted_until_the_amount_changes(
    app_database: Database, controller_database: Database, tenant: Tenant, spend: Callable[[int], None]
) -> None:
    budget_id = make_budget(app_database, tenant, 5, project_id=tenant.project_id)
    spend(5)
    check(controller_database, tenant)
    with app_database.unit_of_work(tenant.scope) as session:
        (hold,) = budgets.list_holds(session, tenant.scope)
        assert hold.project_id == tenant.project_id
        assert "5" in hold.reason
        budgets.lift_hold(session, boss(tenant), hold.id)
    assert check(controller_database, tenant) == 0
    assert not held(app_database, tenant)
    with app_database.unit_of_work(tenant.scope) as session:
        with pytest.raises(SpendingHoldNotFound):
            budgets.lift_hold(session, boss(tenant), hold.id)
        budgets.change_budget(session, boss(tenant), budget_id, amount=Decimal(4))
    assert check(controller_database, tenant) == 1
    assert held(app_database, tenant)


def test_deleting_the_budget_lifts_its_hold(
    app_database: Database, controller_database: Database, tenant: Tenant, spend: Callable[[int], None]
) -> None:
    budget_id = make_budget(app_database, tenant, 1)
    spend(1)
    check(controller_database, tenant)
    with app_database.unit_of_work(tenant.scope) as session:
        budgets.delete_budget(session, boss(tenant), budget_id)
    with controller_database.unit_of_work() as session:
        assert tenant.organization_id in service.organizations_with_budgets(session)
    assert check(controller_database, tenant) == 1
    assert not held(app_database, tenant)


def test_a_budget_that_only_alerts_holds_nothing(
    app_database: Database, controller_database: Database, tenant: Tenant, spend: Callable[[int], None]
) -> None:
    make_budget(app_database, tenant, 1, hold_at_limit=False)
    spend(2)
    assert check(controller_database, tenant) == 0
    assert not held(app_database, tenant)


def test_budgets_of_others_and_their_projects_are_not_found(
    app_database: Database, make_tenant: Callable[[], Tenant]
) -> None:
    mine, other = make_tenant(), make_tenant()
    budget_id = make_budget(app_database, other, 1)
    with app_database.unit_of_work(mine.scope) as session, pytest.raises(BudgetNotFound):
        budgets.get_budget(session, mine.scope, budget_id)
    with pytest.raises(ProjectNotFound):
        make_budget(app_database, mine, 1, project_id=other.project_id)


def test_a_budget_carries_tags(client: TestClient) -> None:
    made = client.post("/api/v1/budgets", json={"amount": "5", "tags": {"team": "vision"}})
    assert (made.status_code, made.json()["tags"]) == (201, {"team": "vision"})
    place = f"/api/v1/budgets/{made.json()['id']}"
    assert client.patch(place, json={"amount": "6"}).json()["tags"] == {"team": "vision"}
    assert client.patch(place, json={"tags": {}}).json()["tags"] == {}
    assert client.patch(place, json={"tags": {"": "x"}}).status_code == 422
