"""The chart of a model's versions: accuracy against what it costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from frontend.figures import Figure, FigureSeries, Point, Unit
from frontend.views.models import VersionLine


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the chart says, in the reader's language."""

    version: str
    on_front: str
    others: str
    accuracy: str
    across: str
    note: str


def draw(lines: Sequence[VersionLine], *, by: str, words: Words) -> Figure:
    """Accuracy against what it costs, one of `COSTS`. On the front: no other is as accurate at less cost."""
    cost = COSTS[by]
    found = [
        Point(x=x, y=line.accuracy, label=_label(line, words))
        for line in lines
        if line.accuracy is not None and (x := cost.of(line)) is not None
    ]
    front: list[Point] = []
    for point in sorted(found, key=lambda one: (-one.x if cost.more_is_better else one.x, -one.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    marked = [Point(x=one.x, y=one.y, label=one.label, marked=True) for one in front]
    rest = [one for one in found if one not in front]
    series = [FigureSeries(name=words.on_front, points=marked), FigureSeries(name=words.others, points=rest)]
    return Figure(
        kind="scatter",
        unit="share",
        x_unit=cost.unit,
        x_label=words.across,
        y_label=words.accuracy,
        series=[one for one in series if one.points],
        note=words.note if found else "",
    )


def _label(line: VersionLine, words: Words) -> str:
    named = f"{words.version} {line.number}"
    return f"{named} ({line.method})" if line.method else named


@dataclass(frozen=True)
class Cost:
    """What accuracy is drawn against."""

    unit: Unit
    of: Callable[[VersionLine], float | None]
    more_is_better: bool = False


COSTS = {
    "size": Cost("bytes", lambda line: line.size_bytes),
    "latency": Cost("ms", lambda line: line.latency_ms),
    "throughput": Cost("count", lambda line: line.throughput, more_is_better=True),
}
