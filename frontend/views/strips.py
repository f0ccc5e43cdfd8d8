"""What a job's attempts used, as strips below their timeline, and in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from backend.fleet.utilisation import Use, UtilisationSummary
from frontend.figures import Figure, FigureSeries, Unit
from frontend.format import Formatter
from frontend.views import JobUse
from frontend.views.costfigures import Say

POINTS: Final = 600
FEWEST_POINTS: Final = 60
TOLD: Final = 3
"""Newest attempts that the words are about."""
SURE_SECONDS: Final = 30.0
"""Less than this says nothing about a job's habits."""
WAITING_SHARE: Final = 0.5
BUSY_SHARE: Final = 0.8
TIGHT_SHARE: Final = 0.9
YOUNG_SECONDS: Final = 3600.0


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One strip: its title, its unit, the columns drawn in it by their name, and where its axis ends."""

    title: str
    unit: Unit
    columns: Sequence[tuple[str, str]]
    upper: float | None


def figure(used: JobUse, say: Say, formatter: Formatter) -> Figure:
    """Every strip over the job's whole time; what lies between attempts is a gap."""
    uses = [use.thinned(max(POINTS // len(used.attempts), FEWEST_POINTS)) for _, use in used.attempts]
    age = (used.end - used.begin).total_seconds()
    return Figure(
        kind="strips",
        unit="count",
        x=[_written(at) for use in uses for at in _moments(use)],
        x_from=used.begin.isoformat(),
        x_to=used.end.isoformat(),
        x_label=say("Time"),
        series=[
            FigureSeries(
                name=name,
                strip=strip.title,
                unit=strip.unit,
                upper=strip.upper,
                values=[value for use in uses for value in _values(getattr(use, column))],
            )
            for strip in _strips(uses, say)
            for column, name in strip.columns
        ],
        note=" ".join(_words(used, say, formatter)),
        final=used.final,
        every_seconds=5 if age < YOUNG_SECONDS else 30,
    )


def _moments(use: Use) -> Iterator[float]:
    """Where an attempt's values stand: the first sample's beginning, every sample's end, and the gap behind them."""
    yield use.times[0] - use.spans[0]
    yield from use.times
    yield use.times[-1] + 0.001


def _values(column: Sequence[float | None]) -> Iterator[float | None]:
    yield column[0]
    yield from column
    yield None


def _written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _strips(uses: Sequence[Use], say: Say) -> Iterator[Strip]:
    """From the dearest to the cheapest: GPUs where there are any, cores, memory, disks."""
    if any(use.gpu_count for use in uses):
        yield Strip(title=say("GPU, share of time"), unit="share", columns=[("gpu_share", "GPU")], upper=1.0)
        held = [("gpu_memory_bytes", say("GPU memory"))]
        upper = max(use.gpu_memory_limit_bytes for use in uses)
        yield Strip(title=say("GPU memory, bytes"), unit="bytes", columns=held, upper=float(upper))
    cores = max((use.cpu_count for use in uses), default=None)
    yield Strip(title=say("CPU, cores"), unit="count", columns=[("cpu_cores", "CPU")], upper=cores)
    limit = max((float(use.memory_limit_bytes) for use in uses), default=None)
    memory = [("memory_bytes", say("Memory"))]
    yield Strip(title=say("Memory, bytes"), unit="bytes", columns=memory, upper=limit)
    disk = [("read_bytes_per_second", say("Read")), ("written_bytes_per_second", say("Written"))]
    yield Strip(title=say("Disk, bytes per second"), unit="rate", columns=disk, upper=None)


def _words(used: JobUse, say: Say, formatter: Formatter) -> Iterator[str]:
    """The newest attempts in sentences, and what the newest one's use suggests."""
    several = len(used.attempts) > 1
    newest: tuple[Use, UtilisationSummary] | None = None
    for number, use in used.attempts[-TOLD:]:
        summary = use.summary()
        if summary is not None:
            newest = (use, summary)
            if several:
                yield say("Attempt %(number)s:", number=number)
            yield from _said(use, summary, say, formatter)
    if newest is not None and newest[1].measured_seconds >= SURE_SECONDS:
        yield from _hints(*newest, say, formatter)


def _said(use: Use, found: UtilisationSummary, say: Say, formatter: Formatter) -> Iterator[str]:
    yield say(
        "CPU at most %(peak)s of %(limit)s cores, %(mean)s on average; memory at most %(held)s of %(room)s.",
        peak=formatter.number(found.cpu_cores_peak),
        limit=formatter.number(use.cpu_count),
        mean=formatter.number(found.cpu_cores_mean),
        held=formatter.bytes(round(found.memory_bytes_peak)),
        room=formatter.bytes(use.memory_limit_bytes),
    )
    yield say(
        "%(read)s read from disk, %(written)s written.",
        read=formatter.bytes(round(found.read_bytes)),
        written=formatter.bytes(round(found.written_bytes)),
    )
    if found.gpu_share_mean is None or found.gpu_memory_bytes_peak is None:
        yield say("No GPU was measured.")
        return
    yield say(
        "GPU %(share)s busy on average, its memory at most %(held)s of %(room)s.",
        share=formatter.percent(found.gpu_share_mean),
        held=formatter.bytes(round(found.gpu_memory_bytes_peak)),
        room=formatter.bytes(use.gpu_memory_limit_bytes),
    )


def _hints(use: Use, found: UtilisationSummary, say: Say, formatter: Formatter) -> Iterator[str]:
    """Only what the figures show."""
    share, busy = found.gpu_share_mean, found.cpu_cores_mean / use.cpu_count if use.cpu_count else 0.0
    if share is not None and share < WAITING_SHARE and busy >= BUSY_SHARE:
        yield say(
            "The CPU keeps the GPU waiting: the cores are %(cores)s busy, the GPU %(share)s.",
            cores=formatter.percent(busy),
            share=formatter.percent(share),
        )
    if use.memory_limit_bytes and found.memory_bytes_peak >= TIGHT_SHARE * use.memory_limit_bytes:
        yield say("Memory came close to its limit: a smaller batch or a larger instance type gives it room.")
