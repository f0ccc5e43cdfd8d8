"""Usage becomes charges once: at the price in force, over tenants, under contention."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, false, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.billing import charging, pricing, rating, service
from backend.billing.errors import PriceInThePast, PriceNotExact
from backend.billing.models import Charge, Price, UsageRecord
from backend.billing.rating import Share
from backend.core.db import Database, Scope
from backend.core.ids import new_id
from backend.seed import PRICES
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def sku() -> str:
    return f"instance:test-{new_id()}:on-demand"


@pytest.fixture(autouse=True)
def _no_leftovers(controller_database: Database) -> None:
    """What other tests left unrated is not this test's."""
    with controller_database.unit_of_work() as session:
        session.execute(
            update(UsageRecord).where(UsageRecord.rated_at.is_(None)).values(rated_at=func.clock_timestamp())
        )


@pytest.fixture
def splitter() -> Iterator[Callable[[Sequence[Share]], None]]:
    class Fixed:
        def __init__(self, shares: Sequence[Share]) -> None:
            self._shares = shares

        def shares(self, _session: Session, _scope: Scope, _record: UsageRecord) -> Sequence[Share]:
            return self._shares

        def settled(self) -> ColumnElement[bool]:
            return false()

    before = dict(charging.SPLITTERS)
    yield lambda shares: service.register_splitter("replica", Fixed(shares))
    charging.SPLITTERS.clear()
    charging.SPLITTERS.update(before)


def set_price(database: Database, sku: str, amount: str, from_at: datetime = START) -> Price:
    with database.unit_of_work() as session:
        return service.set_price(session, sku, Decimal(amount), from_at)


def use(database: Database, tenant: Tenant, sku: str, begin: int, end: int, **other: Any) -> UUID:
    source: UUID = other.pop("source_id", None) or new_id()
    values: dict[str, Any] = {
        "project_id": tenant.project_id,
        "source_kind": "attempt",
        "source_id": source,
        "resource_kind": "job",
        "resource_id": source,
        "resource_name": "digits",
        "sku": sku,
        "quantity": Decimal(end - begin),
        "from_at": START + timedelta(seconds=begin),
        "to_at": START + timedelta(seconds=end),
        "detail": {},
    }
    with database.unit_of_work(tenant.scope) as session:
        service.record_usage(session, tenant.scope, **{**values, **other})
    return source


def rate(database: Database, limit: int = 100, settle_seconds: float = 0.0) -> int:
    with database.unit_of_work() as session:
        return service.rate(session, limit, settle_seconds=settle_seconds).records


def charges(database: Database, tenant: Tenant) -> list[tuple[str, Decimal, Decimal]]:
    with database.unit_of_work(tenant.scope) as session:
        rows = session.scalars(select(Charge).order_by(Charge.from_at, Charge.variant)).all()
        return [(row.variant, row.quantity, row.amount) for row in rows]


def test_usage_is_charged_once_at_the_prices_in_force(
    app_database: Database, controller_database: Database, tenant: Tenant, sku: str
) -> None:
    set_price(controller_database, sku, "0.000012345")
    set_price(controller_database, sku, "0.1", START + timedelta(seconds=20))
    use(app_database, tenant, sku, 0, 60)
    assert rate(controller_database) == 1
    assert rate(controller_database) == 0
    assert charges(app_database, tenant) == [
        ("", Decimal(20), Decimal("0.0002469")),
        ("", Decimal(40), Decimal(4)),
    ]


def test_usage_without_a_price_waits_visibly_and_blocks_nobody(
    app_database: Database, controller_database: Database, tenant: Tenant, sku: str
) -> None:
    use(app_database, tenant, sku, 0, 60)
    other = f"{sku}-priced"
    set_price(controller_database, other, "1")
    use(app_database, tenant, other, 0, 1)
    assert rate(controller_database, limit=1) == 1
    with app_database.unit_of_work(tenant.scope) as session:
        found = service.summarize_costs(session, tenant.scope, service.Filters(from_at=START)).unrated
        assert [(usage.sku, usage.records, usage.quantity, usage.has_price) for usage in found] == [
            (sku, 1, Decimal(60), False)
        ]
    with controller_database.unit_of_work() as session:
        assert service.unpriced_skus(session) == [sku]
    set_price(controller_database, sku, "2", START - timedelta(days=1))
    assert rate(controller_database) == 1
    assert (("", Decimal(60), Decimal(120))) in charges(app_database, tenant)


def test_a_replicas_seconds_are_split_over_variants_exactly(
    app_database: Database,
    controller_database: Database,
    tenant: Tenant,
    sku: str,
    splitter: Callable[[Sequence[Share]], None],
) -> None:
    splitter([Share("int8", 1), Share("fp32", 2)])
    set_price(controller_database, sku, "0.001")
    use(app_database, tenant, sku, 0, 10, source_kind="replica")
    assert rate(controller_database, settle_seconds=3600) == 0
    assert rate(controller_database) == 1
    assert charges(app_database, tenant) == [
        ("fp32", Decimal("6.666"), Decimal("0.006666")),
        ("int8", Decimal("3.334"), Decimal("0.003334")),
    ]


def test_calls_carry_their_variant(app_database: Database, controller_database: Database, tenant: Tenant) -> None:
    sku = f"inference:{new_id()}"
    set_price(controller_database, sku, "0")
    use(app_database, tenant, sku, 0, 10, source_kind="calls", detail={"variant": "int8"})
    assert rate(controller_database) == 1
    assert charges(app_database, tenant) == [("int8", Decimal(10), Decimal(0))]


def test_tenants_are_charged_apart(
    app_database: Database, controller_database: Database, make_tenant: Callable[[], Tenant], sku: str
) -> None:
    mine, other = make_tenant(), make_tenant()
    set_price(controller_database, sku, "1")
    use(app_database, mine, sku, 0, 10)
    use(app_database, other, sku, 0, 20)
    assert rate(controller_database) == 2
    assert charges(app_database, mine) == [("", Decimal(10), Decimal(10))]
    assert charges(app_database, other) == [("", Decimal(20), Decimal(20))]


def test_two_controllers_rate_each_record_once(
    app_database: Database, controller_database: Database, tenant: Tenant, sku: str
) -> None:
    set_price(controller_database, sku, "1")
    for second in range(30):
        use(app_database, tenant, sku, second, second + 1)
    with controller_database.unit_of_work() as holder:
        assert service.rate(holder, 10).records == 10
        assert rate(controller_database, 10) == 10  # a second connection skips what the first holds
    with ThreadPoolExecutor(3) as pool:
        done = sum(pool.map(lambda _: rate(controller_database, 5), range(6)))
    assert done == 10
    assert sum(quantity for _, quantity, _ in charges(app_database, tenant)) == 30


def test_a_controller_that_dies_charges_nothing(
    app_database: Database, controller_database: Database, tenant: Tenant, sku: str
) -> None:
    set_price(controller_database, sku, "1")
    use(app_database, tenant, sku, 0, 10)
    with Session(controller_database.engine) as session:
        assert service.rate(session, 10).records == 1
    assert charges(app_database, tenant) == []
    assert rate(controller_database) == 1


def test_a_price_never_changes_what_was_charged(
    app_database: Database, controller_database: Database, tenant: Tenant, sku: str
) -> None:
    first = set_price(controller_database, sku, "1")
    assert set_price(controller_database, sku, "1").id == first.id
    use(app_database, tenant, sku, 0, 60)
    rate(controller_database)
    for moment in (START, START + timedelta(seconds=59)):
        with pytest.raises(PriceInThePast):
            set_price(controller_database, sku, "2", moment)
    set_price(controller_database, sku, "2", START + timedelta(seconds=60))
    with controller_database.unit_of_work() as session:
        rows = [row for row in service.list_prices(session, at=None) if row.sku == sku]
        assert [(row.amount, row.effective_to) for row in rows] == [
            (Decimal(1), START + timedelta(seconds=60)),
            (Decimal(2), None),
        ]


@pytest.mark.parametrize("amount", ["-1", "0.0000000001", "NaN"])
def test_a_price_that_is_not_exact_is_refused(controller_database: Database, sku: str, amount: str) -> None:
    with pytest.raises(PriceNotExact):
        set_price(controller_database, sku, amount)


def test_postgres_refuses_a_charge_that_is_not_quantity_times_price(
    app_database: Database, controller_database: Database, tenant: Tenant, sku: str
) -> None:
    price = set_price(controller_database, sku, "0.000333333")
    use(app_database, tenant, sku, 0, 60)
    rate(controller_database)
    doubtful = update(Charge).values(amount=Charge.amount + Decimal("0.000000000001"))
    with Session(controller_database.engine) as session, pytest.raises(IntegrityError, match="amount_exact"):
        session.execute(doubtful.where(Charge.price_id == price.id))


def test_what_the_seed_charges_is_exact() -> None:
    for sku, unit, amount, _ in PRICES:
        assert rating.decimals(amount) <= rating.PRICE_DECIMALS, sku
        assert unit == pricing.unit_of(sku)
