"""Sums of days are those of the charges to the last digit, whoever writes them at once; bills round as lines do."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Date, Numeric, cast, column, func, select, values

from backend.billing import explorer, rating, service
from backend.billing.models import Charge, ChargeDay
from backend.billing.repository import ChargeRepository, Filters, rounded_to_cents
from backend.core.clock import database_now
from backend.core.db import Database
from tests.fixtures.database import Tenant
from tests.frontend.spending import Spender

pytestmark = pytest.mark.integration
AMOUNTS = ("0", "0.005", "0.015", "0.025", "0.0150000001", "0.0149999999", "1.115", "1.125", "2.675", "99.995", "7")


@pytest.fixture
def spender(app_database: Database, controller_database: Database, tenant: Tenant) -> Spender:
    return Spender(app_database, controller_database, tenant)


def summed(
    database: Database, tenant: Tenant, table: type[Charge] | type[ChargeDay]
) -> dict[tuple[object, ...], object]:
    """Quantity, amount and number of charges by day, project, kind, SKU and unit."""
    day = ChargeDay.day if table is ChargeDay else cast(func.timezone("UTC", Charge.from_at), Date)
    count = func.sum(ChargeDay.charges) if table is ChargeDay else func.count()
    key = (day, table.project_id, table.resource_kind, table.sku, table.unit)
    with database.unit_of_work(tenant.scope) as session:
        rows = session.execute(select(*key, func.sum(table.quantity), func.sum(table.amount), count).group_by(*key))
        return {tuple(row[:5]): tuple(row[5:]) for row in rows}


def test_sums_of_days_are_those_of_the_charges(app_database: Database, tenant: Tenant, spender: Spender) -> None:
    chance = random.Random(17)  # noqa: S311 - nothing secret
    now = spender.now()
    other = spender.project("other")
    for _ in range(3):
        for number in range(40):
            spender.use(
                f"{chance.randrange(10**6)}.{chance.randrange(1000):03}",
                at=now - timedelta(hours=chance.randrange(200)),
                kind=chance.choice(["job", "endpoint"]),
                project_id=other if number % 3 else None,
            )
        spender.charge()
    found = summed(app_database, tenant, ChargeDay)
    assert found == summed(app_database, tenant, Charge)
    assert len(found) > 10


def test_writers_at_once_neither_wait_nor_lose(
    app_database: Database, controller_database: Database, tenant: Tenant, spender: Spender
) -> None:
    spender.use("1")
    spender.charge()
    for _ in range(60):
        spender.use("0.001")

    def rate(_: int) -> int:
        with controller_database.unit_of_work() as session:
            return service.rate(session, 5, settle_seconds=0).records

    with ThreadPoolExecutor(4) as pool:
        while sum(pool.map(rate, range(4))):
            pass
    assert summed(app_database, tenant, ChargeDay) == summed(app_database, tenant, Charge)
    with app_database.unit_of_work(tenant.scope) as session:
        count, total = explorer.size_of(session, tenant.scope, None)
        assert (count, total) == (61, Decimal("1.060"))


def test_the_database_rounds_half_even_as_lines_do(app_database: Database) -> None:
    given = values(column("amount", Numeric(38, 12)), name="given").data([(Decimal(one),) for one in AMOUNTS])
    with app_database.unit_of_work() as session:
        rows = session.execute(select(given.c.amount, rounded_to_cents(given.c.amount))).all()
    assert {row[0]: row[1] for row in rows} == {Decimal(one): rating.round_to_cents(Decimal(one)) for one in AMOUNTS}


def test_a_bill_cut_short_has_the_totals_of_all_its_lines(
    app_database: Database, tenant: Tenant, spender: Spender, make_tenant: Callable[[], Tenant]
) -> None:
    for amount in AMOUNTS:
        spender.use(str(rating.round_to_cents(Decimal(amount))), name=f"job-{amount}")
    spender.charge()
    with app_database.unit_of_work(tenant.scope) as session:
        month = f"{database_now(session):%Y-%m}"
        whole = service.get_invoice(session, tenant.scope, month)
        short = service.get_invoice(session, tenant.scope, month, limit=3)
        largest = ChargeRepository(session, tenant.scope).largest(Filters(resource_kind="job"), limit=2)
    assert (whole.line_count, len(short.lines)) == (len(AMOUNTS), 3)
    assert (short.line_count, short.exact_total, short.total) == (whole.line_count, whole.exact_total, whole.total)
    assert short.lines == whole.lines[:3]
    assert whole.total == sum(line.rounded for line in whole.lines)
    assert [row[3] for row in largest] == ["job-99.995", "job-7"]
    stranger = make_tenant()
    with app_database.unit_of_work(stranger.scope) as session:
        assert explorer.size_of(session, stranger.scope, month) == (0, Decimal(0))
