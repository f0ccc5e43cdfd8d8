"""★8: usage records are append-only, refuse overlap, and a replay changes nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.billing.errors import UsageNotExact, UsageOverlap
from backend.billing.models import SpendingHold, UsageRecord
from backend.billing.service import open_hold, record_usage
from backend.core.db import Database
from backend.core.ids import new_id
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
START = datetime(2026, 3, 1, tzinfo=UTC)


def _slice(tenant: Tenant, source_id: UUID, begin: int = 0, end: int = 60, **other: Any) -> dict[str, Any]:
    return {
        "project_id": tenant.project_id,
        "source_kind": "attempt",
        "source_id": source_id,
        "resource_kind": "job",
        "resource_id": tenant.project_id,
        "resource_name": "digits",
        "sku": "instance:local.cpu:on-demand",
        "quantity": Decimal(end - begin),
        "from_at": START + timedelta(seconds=begin),
        "to_at": START + timedelta(seconds=end),
        "detail": {},
    } | other


def _count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(UsageRecord)) or 0


def test_slices_follow_each_other_and_a_replay_changes_nothing(tenant_session: Session, tenant: Tenant) -> None:
    source = new_id()
    assert record_usage(tenant_session, tenant.scope, **_slice(tenant, source))
    assert record_usage(tenant_session, tenant.scope, **_slice(tenant, source, 60, 90))
    assert not record_usage(tenant_session, tenant.scope, **_slice(tenant, source))
    assert _count(tenant_session) == 2


@pytest.mark.parametrize(
    ("begin", "end", "other"),
    [(30, 90, {}), (0, 30, {}), (-10, 10, {}), (0, 60, {"quantity": Decimal(59)}), (10, 20, {})],
)
def test_an_overlapping_different_slice_is_refused(
    app_database: Database, tenant: Tenant, begin: int, end: int, other: dict[str, Any]
) -> None:
    source = new_id()
    with app_database.unit_of_work(tenant.scope) as session:
        record_usage(session, tenant.scope, **_slice(tenant, source))
    with pytest.raises(UsageOverlap), app_database.unit_of_work(tenant.scope) as session:
        record_usage(session, tenant.scope, **_slice(tenant, source, begin, end, **other))
    with app_database.unit_of_work(tenant.scope) as session:
        assert _count(session) == 1


@pytest.mark.parametrize("quantity", ["-1", "0.0001", "NaN", "Infinity"])
def test_a_quantity_that_cannot_be_billed_exactly_is_refused(
    tenant_session: Session, tenant: Tenant, quantity: str
) -> None:
    with pytest.raises(UsageNotExact):
        record_usage(tenant_session, tenant.scope, **_slice(tenant, new_id(), quantity=Decimal(quantity)))


def test_a_period_that_runs_backwards_is_refused(tenant_session: Session, tenant: Tenant) -> None:
    with pytest.raises(UsageNotExact):
        record_usage(tenant_session, tenant.scope, **_slice(tenant, new_id(), 60, 0, quantity=Decimal(0)))


def test_two_connections_record_one_slice_once(app_database: Database, tenant: Tenant) -> None:
    source = new_id()

    def deliver(_: int) -> bool:
        with app_database.unit_of_work(tenant.scope) as session:
            return record_usage(session, tenant.scope, **_slice(tenant, source))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(deliver, range(4))) == [False, False, False, True]


def test_a_source_of_another_tenant_is_neither_seen_nor_billed(
    app_database: Database, make_tenant: Callable[[], Tenant]
) -> None:
    mine, other = make_tenant(), make_tenant()
    source = new_id()
    with app_database.unit_of_work(other.scope) as session:
        record_usage(session, other.scope, **_slice(other, source))
    with pytest.raises(UsageOverlap), app_database.unit_of_work(mine.scope) as session:
        record_usage(session, mine.scope, **_slice(mine, source))
    with app_database.unit_of_work(mine.scope) as session:
        assert _count(session) == 0


def test_a_hold_counts_for_its_project_or_for_all(tenant_session: Session, tenant: Tenant) -> None:
    organization_id = tenant.organization_id
    assert open_hold(tenant_session, tenant.scope, tenant.project_id) is None
    own = SpendingHold(organization_id=organization_id, project_id=tenant.project_id, reason="budget")
    tenant_session.add(own)
    tenant_session.flush()
    assert open_hold(tenant_session, tenant.scope, tenant.project_id) is own
    assert open_hold(tenant_session, tenant.scope, new_id()) is None
    own.lifted_at = START
    tenant_session.add(SpendingHold(organization_id=organization_id, project_id=None, reason="all"))
    tenant_session.flush()
    found = open_hold(tenant_session, tenant.scope, new_id())
    assert found is not None
    assert found.reason == "all"
