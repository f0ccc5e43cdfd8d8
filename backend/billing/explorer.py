"""Costs as people explore them: a month's sums with its largest resources, its days, and where it is heading.

A forecast takes what is charged so far and adds, for what is left of the month, the mean of the full days before
(up to 28, without the one on which the first charge falls). Its band holds the end of the month with 80 %
probability where days are independent and normal: 1.2816 standard deviations of a day times the square root of the
days left. With fewer than three full days there is none.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing import rating
from backend.billing.costs import (
    ProjectCost,
    ResourceCost,
    SkuCost,
    UnratedUsage,
    month_bounds,
    month_start,
    next_month,
    unrated_usage,
)
from backend.billing.models import ChargeDay
from backend.billing.repository import ChargeRepository, DayRepository, Days, Filters
from backend.core.clock import database_now
from backend.core.db import Scope

DAYS = 28
LEAST_DAYS = 3
EIGHTY_PERCENT = Decimal("1.2816")
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

Group = Literal["resource_kind", "project_id", "sku"]
GROUPS = {"resource_kind": ChargeDay.resource_kind, "project_id": ChargeDay.project_id, "sku": ChargeDay.sku}


@dataclass(frozen=True, kw_only=True)
class MonthOfCosts:
    """A month's charges, or those of one project in it. `resources` are the largest `limit`; `kinds` by kind."""

    month: str
    from_at: datetime
    to_at: datetime
    over: bool
    total: Decimal
    before: Decimal
    """The whole month before."""
    kinds: dict[str, Decimal]
    by_project: list[ProjectCost]
    by_sku: list[SkuCost]
    resources: list[ResourceCost]
    unrated: list[UnratedUsage]


@dataclass(frozen=True)
class DayGroupCost:
    """What a day (UTC) cost of one group: quantity is in the SKU's unit, and means something for one SKU only."""

    day: date
    group: str | UUID
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True)
class ForecastDay:
    """Charges from the start of the month to the end of this day: expected, and the band around it."""

    day: date
    expected: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class Forecast:
    """The rest of this month, day by day (today is the first); `rests_on` days of the past."""

    spent: Decimal
    days: list[ForecastDay]
    rests_on: int

    @property
    def end(self) -> ForecastDay:
        """The last day of the month."""
        return self.days[-1]


def list_months(session: Session, scope: Scope) -> list[str]:
    """Every month `yyyy-mm` from that of the first charge to this one, newest first."""
    now = database_now(session)
    earliest = DayRepository(session, scope).earliest()
    month = month_start(now)
    first = month if earliest is None else month_start(datetime(earliest.year, earliest.month, 1, tzinfo=UTC))
    months = []
    while month >= first:
        months.append(f"{month:%Y-%m}")
        month = month_start(month - DAY)
    return months


def explore(
    session: Session,
    scope: Scope,
    month: str | None = None,
    *,
    project_id: UUID | None = None,
    resource_kind: str | None = None,
    limit: int,
) -> MonthOfCosts:
    """Sums of a month `yyyy-mm` (this one without), of one project or all. Raises MonthNotValid.

    `resource_kind` narrows `resources` only; with a `limit` of 0 nobody looks for them.
    """
    now = database_now(session)
    from_at, to_at = month_bounds(month or f"{now:%Y-%m}")
    filters = Filters(project_id=project_id, from_at=from_at, to_at=to_at)
    previous = None
    if from_at.year > 1:
        previous = Days(project_id, since=month_start(from_at - DAY).date(), before=from_at.date())
    charges, days = ChargeRepository(session, scope), DayRepository(session, scope)
    keys = (ChargeDay.project_id, ChargeDay.resource_kind, ChargeDay.sku, ChargeDay.unit)
    sums = days.sums(Days(project_id, since=from_at.date(), before=to_at.date()), *keys)
    largest = charges.largest(replace(filters, resource_kind=resource_kind), limit=limit) if limit else []
    return MonthOfCosts(
        month=f"{from_at.year:04d}-{from_at.month:02d}",
        from_at=from_at,
        to_at=to_at,
        over=now >= to_at,
        total=rating.exact_sum([row[-1] for row in sums]),
        before=days.total(previous) if previous else Decimal(0),
        kinds={kind: amount for kind, _, amount in _gathered(sums, 1)},
        by_project=[ProjectCost(project, amount) for project, _, amount in _gathered(sums, 0)],
        by_sku=[SkuCost(sku, unit, quantity, amount) for (sku, unit), quantity, amount in _gathered(sums, slice(2, 4))],
        resources=[ResourceCost(*row) for row in largest],
        unrated=unrated_usage(session, scope, filters),
    )


def _gathered(rows: Sequence[tuple[Any, ...]], by: int | slice) -> list[tuple[Any, Decimal, Decimal]]:
    """Rows (*keys, quantity, amount) summed by some of their keys: (key, quantity, amount), the largest first."""
    groups: dict[Any, list[tuple[Any, ...]]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    found = [
        (key, rating.exact_sum([row[-2] for row in group]), rating.exact_sum([row[-1] for row in group]))
        for key, group in groups.items()
    ]
    return sorted(found, key=lambda one: one[-1], reverse=True)


def size_of(session: Session, scope: Scope, month: str | None, project_id: UUID | None = None) -> tuple[int, Decimal]:
    """How many charges a month `yyyy-mm` has (this one without), and their exact sum. Raises MonthNotValid."""
    from_at, to_at = month_bounds(month or f"{database_now(session):%Y-%m}")
    days, period = DayRepository(session, scope), Days(project_id, from_at.date(), to_at.date())
    return days.charges(period), days.total(period)


def by_day(session: Session, scope: Scope, filters: Filters, group: Group) -> list[DayGroupCost]:
    """What each day of a period of whole days cost by group, oldest first; a day without a charge is left out."""
    rows = DayRepository(session, scope).sums(Days.within(filters), ChargeDay.day, GROUPS[group])
    return sorted((DayGroupCost(*row) for row in rows), key=lambda cost: cost.day)


def forecast(session: Session, scope: Scope, project_id: UUID | None = None) -> Forecast | None:
    """Where this month is heading, of one project or all; None while there are too few full days to tell."""
    now = database_now(session)
    charges = DayRepository(session, scope)
    earliest = charges.earliest(project_id)
    if earliest is None:
        return None
    today = now.astimezone(UTC).date()
    since = max(today - DAYS * DAY, earliest + DAY)
    count = (today - since).days
    if count < LEAST_DAYS:
        return None
    found = {day: amount for day, _, amount in charges.sums(Days(project_id, since, today), ChargeDay.day)}
    past_days = [found.get(since + index * DAY, Decimal(0)) for index in range(count)]
    spent = charges.total(Days(project_id, since=month_start(now).date()))
    return Forecast(spent, project_days(past_days, spent, now), count)


def project_days(past: Sequence[Decimal], spent: Decimal, now: datetime) -> list[ForecastDay]:
    """The rest of the month of `now`, given the charges of full days before (dollars) and of the month so far."""
    mean, deviation = statistics.mean(past), statistics.stdev(past)
    end = next_month(month_start(now))
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    days = []
    while day < end:
        left = Decimal((day + DAY - now) // MICROSECOND) / (DAY // MICROSECOND)
        expected = spent + mean * left
        spread = EIGHTY_PERCENT * deviation * left.sqrt()
        low = max(spent, expected - spread)
        days.append(ForecastDay(day.date(), *(_dollars(one) for one in (expected, low, expected + spread))))
        day += DAY
    return days


def _dollars(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.0001"))
