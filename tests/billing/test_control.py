"""The control task of billing: what was used becomes a bill, by itself."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend.billing import service
from backend.billing.costs import month_start
from backend.billing.models import Budget, Charge
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from tests.fixtures.database import Tenant
from worker.context import ControlContext
from worker.tasks import billing

pytestmark = pytest.mark.integration


def test_one_pass_rates_everything_there_is(
    app_database: Database,
    controller_database: Database,
    database_settings: Settings,
    tenant: Tenant,
    tmp_path: Path,
) -> None:
    sku = f"inference:{new_id()}"
    with app_database.unit_of_work(tenant.scope) as session:
        start = month_start(database_now(session))
    with controller_database.unit_of_work() as session:
        service.set_price(session, sku, Decimal("0.5"), start)
    values: dict[str, Any] = {
        "project_id": tenant.project_id,
        "source_kind": "calls",
        "source_id": new_id(),
        "resource_kind": "endpoint",
        "resource_id": new_id(),
        "resource_name": "digits",
        "sku": sku,
        "quantity": Decimal(3),
        "detail": {"variant": "fp32"},
    }
    with app_database.unit_of_work(tenant.scope) as session:
        for number in range(3):
            period: dict[str, Any] = {
                "from_at": start + timedelta(milliseconds=number),
                "to_at": start + timedelta(milliseconds=number + 1),
            }
            service.record_usage(session, tenant.scope, **values, **period)
        session.add(
            Budget(
                organization_id=tenant.organization_id,
                project_id=None,
                amount=Decimal("4.5"),
                alert_percents=[100],
                hold_at_limit=True,
            )
        )
    storage = ObjectStore(f"file://{tmp_path}/objects")
    context = ControlContext(controller_database, database_settings, storage, None)
    assert billing.control(context) >= 3
    with app_database.unit_of_work(tenant.scope) as session:
        rows = session.scalars(select(Charge)).all()
        assert [(row.amount, row.variant) for row in rows] == [(Decimal("1.5"), "fp32")] * 3
        hold = service.open_hold(session, tenant.scope, tenant.project_id)
        assert hold is not None
        assert "4.5" in hold.reason
    assert billing.control(context) == 0
