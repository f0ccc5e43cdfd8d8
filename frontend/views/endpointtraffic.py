"""An endpoint's traffic: calls, errors and latency per variant, and the actual split beside the wanted one."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.pagination import MAX_LIMIT, PageRequest
from backend.endpoints import service, traffic
from backend.endpoints.latency import quantile_ms
from backend.endpoints.service import ConfigDetail
from frontend.figures import Figure, FigureSeries

Period = Literal["1h", "24h", "7d"]
Picture = Literal["calls", "errors", "latency", "split", "wanted"]
PICTURES: Final[Mapping[str, Picture]] = {
    "calls": "calls",
    "errors": "errors",
    "latency": "latency",
    "split": "split",
    "wanted": "wanted",
}
PERIODS: Final[Mapping[Period, tuple[timedelta, timedelta]]] = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "24h": (timedelta(hours=24), timedelta(minutes=15)),
    "7d": (timedelta(days=7), timedelta(hours=2)),
}
"""(how far back, length of a step)."""
NOW: Final = timedelta(minutes=2)
"""What "now" means: segments of usage are sealed every ten seconds and then delivered."""


@dataclass(frozen=True, kw_only=True)
class VariantTraffic:
    """One variant in the period. Latencies and compute in seconds; shares in [0, 1]; '' = refused without a variant."""

    name: str
    calls: int
    errors: int
    share: float | None
    wanted: float | None
    p50: float | None
    p95: float | None
    compute: float | None

    @property
    def error_share(self) -> float | None:
        """Errors of all calls."""
        return self.errors / (self.calls + self.errors) if self.calls + self.errors else None


@dataclass(frozen=True, kw_only=True)
class TrafficPage:
    """What the traffic tab shows. `rate` and `error_rate` per second, over the last two minutes."""

    period: Period
    rate: float
    error_rate: float
    calls: int
    errors: int
    p50: float | None
    p95: float | None
    variants: Sequence[VariantTraffic]


def read_page(session: Session, scope: Scope, endpoint_id: UUID, period: Period) -> TrafficPage:
    """Sums of the period, per variant. Raises EndpointNotFound."""
    now = database_now(session)
    found = traffic.read_traffic(session, scope, endpoint_id, from_at=now - PERIODS[period][0], to_at=now)
    lately = traffic.read_traffic(session, scope, endpoint_id, from_at=now - NOW, to_at=now)
    live = service.get_endpoint(session, scope, endpoint_id).live
    wanted = _shares(live)
    answered = sum(row.calls for row in found.variants)
    rows = {row.variant: row for row in found.variants}
    every: Counter[int] = Counter()
    for name in rows:
        every.update(found.latencies.get((name,), {}))
    return TrafficPage(
        period=period,
        rate=float(sum(row.calls for row in lately.variants)) / NOW.total_seconds(),
        error_rate=float(sum(row.errors for row in lately.variants)) / NOW.total_seconds(),
        calls=int(answered),
        errors=int(sum(row.errors for row in found.variants)),
        p50=_seconds(quantile_ms(every, 0.5)),
        p95=_seconds(quantile_ms(every, 0.95)),
        variants=[
            VariantTraffic(
                name=name,
                calls=int(rows[name].calls) if name in rows else 0,
                errors=int(rows[name].errors) if name in rows else 0,
                share=float(rows[name].calls / answered) if name in rows and answered and name else None,
                wanted=wanted.get(name),
                p50=_seconds(found.latency(name, share=0.5)),
                p95=_seconds(found.latency(name, share=0.95)),
                compute=_compute(rows[name].compute_us, rows[name].calls) if name in rows else None,
            )
            for name in dict.fromkeys([*wanted, *sorted(rows)])
        ],
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _compute(microseconds: int, calls: int) -> float | None:
    return int(microseconds) / int(calls) / 1e6 if calls else None


def _shares(config: ConfigDetail | None) -> dict[str, float]:
    """The share of the traffic that each variant's weight asks for."""
    variants = [] if config is None else config.variants
    whole = sum(one.weight for one in variants)
    return {one.name: float(one.weight / whole) for one in variants if whole}


class Steps:
    """The traffic of a period in steps of equal length, up to now."""

    def __init__(self, session: Session, scope: Scope, endpoint_id: UUID, period: Period) -> None:
        back, self.length = PERIODS[period]
        now = database_now(session)
        self.found = traffic.read_traffic(session, scope, endpoint_id, from_at=now - back, to_at=now)
        first, last = self._begin(now - back) + self.length, self._begin(now)
        count = int((last - first) / self.length) + 1
        self.times = [first + index * self.length for index in range(count)]
        self.names = sorted({row.variant for row in self.found.minutes})
        self._places = {at: index for index, at in enumerate(self.times)}

    def _begin(self, moment: datetime) -> datetime:
        whole = int(self.length.total_seconds())
        return datetime.fromtimestamp(moment.timestamp() // whole * whole, UTC)

    def sums(self, column: Literal["calls", "errors"]) -> dict[str, list[int]]:
        """Sums by variant and step."""
        found = {name: [0] * len(self.times) for name in self.names}
        for row in self.found.minutes:
            place = self._places.get(self._begin(row.minute))
            if place is not None:
                found[row.variant][place] += int(getattr(row, column))
        return found

    def quantiles(self, share: float) -> dict[str, list[float | None]]:
        """Latency in milliseconds by variant and step; None where nobody measured."""
        counts: dict[str, list[Counter[int]]] = {name: [Counter() for _ in self.times] for name in self.names if name}
        for row in self.found.minutes:
            place = self._places.get(self._begin(row.minute))
            if place is not None and row.variant:
                counts[row.variant][place].update(self.found.latencies.get((row.minute, row.variant), {}))
        return {name: [quantile_ms(one, share) for one in steps] for name, steps in counts.items()}


def draw(
    session: Session, scope: Scope, endpoint_id: UUID, picture: Picture, period: Period, words: Mapping[str, str]
) -> Figure:
    """One picture of the traffic. `words`: sentences and names in the reader's language, see the page's handler."""
    steps = Steps(session, scope, endpoint_id, period)
    endpoint = service.get_endpoint(session, scope, endpoint_id).endpoint
    series: Sequence[FigureSeries]
    if picture in ("calls", "errors"):
        per_minute = steps.length.total_seconds() / 60
        sums = steps.sums("errors" if picture == "errors" else "calls")
        kept = {name: values for name, values in sums.items() if name or (picture == "errors" and any(values))}
        series = [
            FigureSeries(name=name or words["none"], values=[value / per_minute for value in values])
            for name, values in kept.items()
        ]
    elif picture == "latency":
        series = [
            FigureSeries(name=f"{name} {label}", values=values, dashed=label == "p50")
            for share, label in ((0.95, "p95"), (0.5, "p50"))
            for name, values in steps.quantiles(share).items()
        ]
    elif picture == "split":
        series = _split(steps)
    else:
        series = list(_wanted(session, scope, endpoint_id, steps))
    if _too_little(series, areas=picture in ("split", "wanted")):
        series = []
    return Figure(
        kind="area" if picture in ("split", "wanted") else "lines",
        unit={"calls": "count", "errors": "count", "latency": "ms"}.get(picture, "share"),  # type: ignore[arg-type] # a Unit each
        series=series,
        x=[at.isoformat() for at in steps.times],
        note=words[picture] if series else "",
        final=endpoint.deleted_at is not None,
    )


def _too_little(series: Sequence[FigureSeries], *, areas: bool) -> bool:
    """Nothing to see: no value, all of them 0, or a single point where an area is to be drawn."""
    known = [one for one in zip(*(one.values for one in series), strict=True) if any(one)]
    return len(known) < (2 if areas else 1)


def _split(steps: Steps) -> list[FigureSeries]:
    """The share of the answered calls per variant; no value where nobody called."""
    sums = {name: values for name, values in steps.sums("calls").items() if name}
    whole = [sum(values) for values in zip(*sums.values(), strict=True)]
    return [
        FigureSeries(
            name=name, values=[value / all_ if all_ else None for value, all_ in zip(values, whole, strict=True)]
        )
        for name, values in sums.items()
    ]


def _wanted(session: Session, scope: Scope, endpoint_id: UUID, steps: Steps) -> Iterator[FigureSeries]:
    """The share per variant that the weights asked for at the end of each step; no value while nothing answered."""
    configs, _ = service.list_configs(session, scope, endpoint_id, PageRequest(limit=MAX_LIMIT))
    lived = sorted(
        ((one.config.live_at, one) for one in configs if one.config.live_at is not None), key=lambda pair: pair[0]
    )
    shares: list[dict[str, float]] = []
    for at in steps.times:
        current = [one for live_at, one in lived if live_at <= at + steps.length]
        shares.append(_shares(current[-1]) if current else {})
    for name in sorted({name for one in shares for name in one}):
        yield FigureSeries(name=name, values=[one.get(name, 0.0) if one else None for one in shares])
