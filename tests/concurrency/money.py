"""Prices, usage, charges, the audit's chain and the first boot, written from several connections at once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from sqlalchemy import func, select, update

from backend.audit.models import AuditEvent
from backend.audit.service import seal_pending, verify_chain
from backend.billing import service as billing
from backend.billing.errors import PriceInThePast, UsageOverlap
from backend.billing.models import Charge, Price, UsageRecord
from backend.core.db import Database, make_engine
from backend.core.ids import new_id
from backend.endpoints.models import Gateway
from backend.fleet.models import Quota
from backend.identity.models import Organization
from backend.seed import seed
from tests.api.test_seed import fresh_settings
from tests.concurrency.cases import races
from tests.concurrency.place import Place, at_once

START = datetime(2026, 3, 1, tzinfo=UTC)


def sku_of(place: Place) -> str:
    """A SKU that only this tenant uses."""
    return f"instance:race-{place.tenant.organization_id}:on-demand"


def use(place: Place, source_id: UUID, begin: int, end: int) -> bool | None:
    """Record [begin, end) seconds; None = refused as an overlap."""
    try:
        with place.app_database.unit_of_work(place.tenant.scope) as session:
            return billing.record_usage(
                session,
                place.tenant.scope,
                project_id=place.tenant.project_id,
                source_kind="attempt",
                source_id=source_id,
                resource_kind="job",
                resource_id=source_id,
                resource_name="nap",
                sku=sku_of(place),
                quantity=Decimal(end - begin),
                from_at=START + timedelta(seconds=begin),
                to_at=START + timedelta(seconds=end),
                detail={},
            )
    except UsageOverlap:
        return None


@races("uq_usage_records_source_id_sku_from_at")
def replayed_usage(place: Place, count: int) -> None:
    source_id = new_id()
    said = at_once([lambda: use(place, source_id, 0, 60)] * count)
    assert sorted(map(str, said)) == ["False"] * (count - 1) + ["True"], "one is new, the others are its replay"
    assert place.count(UsageRecord) == 1


@races("ex_usage_records_no_overlap")
def overlapping_usage(place: Place, count: int) -> None:
    source_id = new_id()
    said = at_once([lambda n=number: use(place, source_id, n, 60 + n) for number in range(count)])  # type: ignore[misc]  # mypy cannot infer a lambda's default
    assert sorted(map(str, said)) == ["None"] * (count - 1) + ["True"]
    assert place.count(UsageRecord) == 1


@races("uq_charges_usage_record_id_price_id_from_at_variant")
def charges(place: Place, count: int) -> None:
    """As many raters as there are; each record is charged by one of them."""
    with place.controller_database.unit_of_work() as session:
        billing.set_price(session, sku_of(place), Decimal("0.5"), START)
        unrated = update(UsageRecord).where(UsageRecord.rated_at.is_(None))
        session.execute(unrated.values(rated_at=func.clock_timestamp()))  # other tests' leavings
    for number in range(12):
        use(place, new_id(), number, number + 10)

    def rate() -> int:
        with place.controller_database.unit_of_work() as session:
            return billing.rate(session, 5).records

    rated = sum(sum(at_once([rate] * count)) for _ in range(6))
    assert rated == 12
    with place.controller_database.unit_of_work() as session:
        total = session.scalar(select(func.sum(Charge.amount)).where(Charge.sku == sku_of(place)))
    assert total == Decimal(60)


@races("ex_prices_one_at_a_time")
def prices(place: Place, count: int) -> None:
    """Different amounts from the same moment: one stands. The same amount: it stands once."""

    def put(amount: Decimal, from_at: datetime) -> bool:
        try:
            with place.controller_database.unit_of_work() as session:
                billing.set_price(session, sku_of(place), amount, from_at)
        except PriceInThePast:
            return False
        return True

    different: list[Callable[[], bool]] = [
        lambda number=number: put(Decimal(number + 1), START)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        for number in range(count)
    ]
    assert sorted(at_once(different)) == [False] * (count - 1) + [True]
    assert all(at_once([lambda: put(Decimal(5), START + timedelta(days=1))] * count))
    with place.controller_database.unit_of_work() as session:
        rows = session.scalars(select(Price).where(Price.sku == sku_of(place)).order_by(Price.effective_from)).all()
    assert [row.effective_to for row in rows] == [START + timedelta(days=1), None]


@races("uq_audit_events_organization_id_sequence")
def audit_chain(place: Place, count: int) -> None:
    """Acts go on while as many sealers seal."""
    place.all_send(count, "POST", "/projects", [{"name": f"p{number}"} for number in range(count)])

    def seal() -> int:
        with place.controller_database.unit_of_work() as session:
            return seal_pending(session, 1000)

    sealed = sum(at_once([seal] * count))
    with place.app_database.unit_of_work(place.tenant.scope) as session:
        report = verify_chain(session, place.tenant.scope)
    assert (report.checked, report.broken_at) == (place.count(AuditEvent), None)
    assert sealed >= report.checked


@races(
    "uq_organizations_account_id",
    "uq_organizations_slug",
    "uq_quotas_organization_id_instance_type",
    "uq_gateways_name",
    "uq_gateways_token_hash",
)
def first_boots(place: Place, count: int) -> None:
    """Only the seed writes these: as many first boots of a platform with an empty database make one organization."""
    with TemporaryDirectory() as home:
        settings = fresh_settings(place.context.settings, Path(home) / "home")
        made = at_once([lambda: seed(settings)] * count)
    assert sorted(result.created for result in made) == [False] * (count - 1) + [True]
    assert len({result.organization_id for result in made}) == 1
    assert settings.database.controller_url is not None
    database = Database(make_engine(settings.database.controller_url.get_secret_value(), pool_size=1))
    with database.unit_of_work() as session:
        for model, rows in ((Organization, 1), (Quota, 1), (Gateway, 2)):  # a gateway for HTTP, one for gRPC
            assert session.scalar(select(func.count()).select_from(model)) == rows
    database.dispose()
