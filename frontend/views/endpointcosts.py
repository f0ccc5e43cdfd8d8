"""What an endpoint cost: this month, by variant, per 1,000 calls, and per day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing import costs
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.endpoints import service
from frontend.figures import Figure, FigureSeries

CALL = "call"
THOUSAND = Decimal(1000)


@dataclass(frozen=True, kw_only=True)
class VariantBill:
    """One variant's month; '' = compute that no variant used. `compute_cost` is that of the replicas' time."""

    name: str
    calls: int
    call_cost: Decimal
    compute_cost: Decimal

    @property
    def total(self) -> Decimal:
        """Both together."""
        return self.call_cost + self.compute_cost

    @property
    def per_thousand(self) -> Decimal | None:
        """What 1,000 calls cost; None without a call."""
        return self.total / self.calls * THOUSAND if self.calls else None


@dataclass(frozen=True, kw_only=True)
class CostPage:
    """What the cost tab shows: charges since `since` (the month's begin, UTC)."""

    since: datetime
    variants: Sequence[VariantBill]

    @property
    def total(self) -> Decimal:
        """All of it, exactly."""
        return sum((one.total for one in self.variants), Decimal(0))

    @property
    def calls(self) -> int:
        """Calls that were charged."""
        return sum(one.calls for one in self.variants)

    @property
    def per_thousand(self) -> Decimal | None:
        """What 1,000 calls cost, idle time of the replicas included."""
        return self.total / self.calls * THOUSAND if self.calls else None


def read_costs(session: Session, scope: Scope, endpoint_id: UUID) -> CostPage:
    """This month's charges. Raises EndpointNotFound."""
    service.get_endpoint(session, scope, endpoint_id)
    now = database_now(session)
    since = costs.month_start(now)
    rows = costs.charged_by_variant(session, scope, "endpoint", endpoint_id, from_at=since, to_at=now)
    names = sorted({row.variant for row in rows}, key=lambda name: (not name, name))
    return CostPage(
        since=since,
        variants=[_bill(name, [row for row in rows if row.variant == name]) for name in names],
    )


def _bill(name: str, rows: Sequence[costs.VariantCost]) -> VariantBill:
    calls = [row for row in rows if row.unit == CALL]
    return VariantBill(
        name=name,
        calls=int(sum(row.quantity for row in calls)),
        call_cost=sum((row.amount for row in calls), Decimal(0)),
        compute_cost=sum((row.amount for row in rows if row.unit != CALL), Decimal(0)),
    )


def draw_days(session: Session, scope: Scope, endpoint_id: UUID, words: Mapping[str, str]) -> Figure:
    """Charges per day of this month, stacked by variant. Raises EndpointNotFound."""
    endpoint = service.get_endpoint(session, scope, endpoint_id).endpoint
    now = database_now(session)
    since = costs.month_start(now)
    rows = costs.charged_by_day(session, scope, "endpoint", endpoint_id, from_at=since, to_at=now)
    days = [since.date() + timedelta(days=index) for index in range((now.date() - since.date()).days + 1)]
    found: dict[str, dict[date, float]] = {}
    for row in rows:
        found.setdefault(row.variant, {})[row.day] = float(row.amount)
    return Figure(
        kind="bars",
        unit="usd",
        x=[day.isoformat() for day in days],
        series=[
            FigureSeries(name=name or words["none"], values=[found[name].get(day, 0.0) for day in days])
            for name in sorted(found, key=lambda name: (not name, name))
        ],
        note=words["days"] if found else "",
        final=endpoint.deleted_at is not None,
    )
