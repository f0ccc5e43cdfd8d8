"""The charts of the costs room: what a month cost by day, where it is heading, what it went to, what was used."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy.orm import Session

from backend.billing import costs, explorer
from backend.billing.explorer import DayGroupCost, Forecast, Group
from backend.billing.repository import Filters
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.errors import RouteNotFound
from frontend.figures import Figure, FigureSeries
from frontend.views.costs import named, project_names, unit_of

LAYERS = 7
LEAVES = 40
EVERY_SECONDS = 60

Say = Callable[..., str]
"""A sentence in the reader's language; see `Renderer.say`."""


def in_words(amount: Decimal) -> str:
    """US dollars in a sentence: cents, and below a dollar four decimals, as money stands elsewhere on the page."""
    return f"{amount:.2f}" if amount == 0 or abs(amount) >= 1 else f"{amount:.4f}"


def days_of(filters: Filters, until: date) -> list[date]:
    """Every day of a period, up to and with `until`."""
    assert filters.from_at is not None  # noqa: S101 - a month has bounds
    assert filters.to_at is not None  # noqa: S101 - a month has bounds
    last = min(filters.to_at.date() - timedelta(days=1), until)
    first = filters.from_at.date()
    return [first + timedelta(days=index) for index in range((last - first).days + 1)]


def layers(
    rows: list[DayGroupCost], days: list[date], name: Callable[[str | UUID], str], rest: str, *, quantity: bool = False
) -> list[FigureSeries]:
    """One layer per group, the largest first; the smaller ones together as `rest`."""
    sums: dict[str | UUID, dict[date, Decimal]] = {}
    for row in rows:
        sums.setdefault(row.group, {})[row.day] = row.quantity if quantity else row.amount
    ranked = sorted(sums, key=lambda group: sum(sums[group].values()), reverse=True)
    shown = [FigureSeries(name=name(one), values=_values(sums[one], days)) for one in ranked[:LAYERS]]
    small = ranked[LAYERS:]
    if small:
        together = {day: sum((sums[one].get(day, Decimal(0)) for one in small), Decimal(0)) for day in days}
        shown.append(FigureSeries(name=rest, values=_values(together, days)))
    return shown


def _values(by_day: Mapping[date, Decimal], days: list[date]) -> list[float]:
    return [float(by_day.get(day, 0)) for day in days]


def by_day(session: Session, scope: Scope, month: str, project_id: UUID | None, group: Group, say: Say) -> Figure:
    """Stacked bars: what each day cost by kind, project or SKU. Raises MonthNotValid."""
    filters, over, today = _period(session, month, project_id)
    days = days_of(filters, today)
    rows = explorer.by_day(session, scope, filters, group)
    names = project_names(session, scope)
    words = {"job": say("Jobs"), "endpoint": say("Endpoints"), "instance": say("Instances kept")}

    def name(one: str | UUID) -> str:
        return named(names, one) if isinstance(one, UUID) else words.get(one, one)

    total = sum((row.amount for row in rows), Decimal(0))
    return Figure(
        kind="bars",
        unit="usd",
        x=[str(day) for day in days],
        series=layers(rows, days, name, say("Others")) if total else (),
        note=say("Together USD %(total)s on %(days)s days with charges.", total=in_words(total), days=_count(rows))
        if _count(rows) != 1
        else say("USD %(total)s on one day with charges.", total=in_words(total)),
        final=over,
        every_seconds=EVERY_SECONDS,
    )


def _count(rows: list[DayGroupCost]) -> int:
    return len({row.day for row in rows})


def usage_by_day(session: Session, scope: Scope, month: str, project_id: UUID | None, unit: str, say: Say) -> Figure:
    """Stacked bars: seconds of instances (`second`) or calls (`call`) of each day, by SKU. Raises MonthNotValid."""
    filters, over, today = _period(session, month, project_id)
    days = days_of(filters, today)
    rows = [one for one in explorer.by_day(session, scope, filters, "sku") if unit_of(str(one.group)) == unit]
    return Figure(
        kind="bars",
        unit="seconds" if unit == "second" else "count",
        x=[str(day) for day in days],
        series=layers(rows, days, lambda sku: sku_name(str(sku), say), say("Others"), quantity=True),
        note=say("Only what is charged already; the rest follows within a minute or two.") if rows else "",
        final=over,
        every_seconds=EVERY_SECONDS,
    )


def sku_name(sku: str, say: Say) -> str:
    """A SKU for people: the instance type and its market, or calls."""
    _, _, rest = sku.partition(":")
    return say("Inference calls") if sku == "inference:call" else rest.replace(":", " \N{MIDDLE DOT} ") or sku


def _period(session: Session, month: str, project_id: UUID | None) -> tuple[Filters, bool, date]:
    now = database_now(session)
    from_at, to_at = costs.month_bounds(month)
    return Filters(project_id=project_id, from_at=from_at, to_at=to_at), now >= to_at, now.date()


def ahead(session: Session, scope: Scope, month: str, project_id: UUID | None, say: Say) -> Figure:
    """Lines: charges so far, summed up day by day, and for this month the forecast in its band."""
    filters, over, today = _period(session, month, project_id)
    so_far = days_of(filters, today)
    found: dict[date, Decimal] = {}
    for row in explorer.by_day(session, scope, filters, "resource_kind"):
        found[row.day] = found.get(row.day, Decimal(0)) + row.amount
    sums: list[float | None] = []
    total = Decimal(0)
    for day in so_far:
        total += found.get(day, Decimal(0))
        sums.append(float(total))
    charged = FigureSeries(name=say("Charged"), values=sums)
    guess = None if over or not so_far else explorer.forecast(session, scope, project_id)
    every = [*so_far, *(one.day for one in guess.days if one.day > today)] if guess else so_far
    empty = not found and guess is None
    figure = Figure(
        kind="lines",
        unit="usd",
        x=[str(day) for day in every],
        series=() if empty else [_padded(charged, len(every))],
        note=say("USD %(total)s are charged.", total=in_words(total)),
        final=over,
        every_seconds=EVERY_SECONDS,
    )
    return _with_forecast(figure, guess, len(so_far), say) if guess else figure


def _padded(series: FigureSeries, length: int) -> FigureSeries:
    return replace(series, values=[*series.values, *[None] * (length - len(series.values))])


def _with_forecast(figure: Figure, guess: Forecast, so_far: int, say: Say) -> Figure:
    """From today's end on. `guess.days` begins with today, the last of the `so_far` days."""
    before: list[None] = [None] * (so_far - 1)
    line = FigureSeries(
        name=say("Forecast"),
        values=[*before, *(float(one.expected) for one in guess.days)],
        dashed=True,
        band=[*before, *((float(one.low), float(one.high)) for one in guess.days)],
    )
    end = guess.end
    note = say(
        "USD %(spent)s are charged. At the pace of the last %(days)s full days the month ends at about USD %(end)s, "
        "and with 80 %% probability between %(low)s and %(high)s.",
        spent=in_words(guess.spent),
        days=guess.rests_on,
        end=in_words(end.expected),
        low=in_words(end.low),
        high=in_words(end.high),
    )
    return replace(figure, series=[*figure.series, line], note=note)


def went_to(session: Session, scope: Scope, month: str, project_id: UUID | None, say: Say) -> Figure:
    """Treemap: the largest resources within their projects. Raises MonthNotValid."""
    found = explorer.explore(session, scope, month, project_id=project_id, limit=LEAVES)
    names = project_names(session, scope)
    leaves = [one for one in found.resources if one.amount > 0]
    labels = [one.resource_name for one in leaves]
    series = [
        FigureSeries(
            name=named(names, project),
            values=[float(one.amount) if one.project_id == project else None for one in leaves],
        )
        for project in dict.fromkeys(one.project_id for one in leaves)
    ]
    most = leaves[0] if leaves else None
    return Figure(
        kind="treemap",
        unit="usd",
        x=labels,
        series=series,
        note=say("%(name)s cost the most: USD %(amount)s.", name=most.resource_name, amount=in_words(most.amount))
        if most
        else "",
        final=found.over,
        every_seconds=EVERY_SECONDS,
    )


def no_figure() -> RouteNotFound:
    """There is no chart of this name."""
    return RouteNotFound("There is nothing at this address, or it is not yours to see.")
