"""What a chart's address answers: one document for every kind of chart, drawn by `assets/src/figures.ts`.

    kind     lines | bars (stacked) | area (stacked) | scatter | matrix (rows by columns) | treemap | strips (low
             charts of their own units, one below the other, that fill their width and share one axis of time)
    unit     what the values are: usd | seconds | ms | bytes | rate (bytes per second) | share | count; the script
             writes them as the pages do
    x        names, days (2026-11-01), times (2026-11-01T10:00:00+00:00) or, for `lines` with an `x_unit`, numbers;
             days and times are written in the reader's language. For `matrix` the columns' names, for `treemap` the
             leaves' names
    series   name, values (as long as `x`, None = no value); for `scatter` points {x, y, label}; for `matrix` a row;
             for `treemap` a box around its leaves (a single series draws no box); for `strips` each with its `unit`
             and the `strip` it is drawn in, whose axis ends at `upper`, if there is one
    x_from, x_to    where the axis of time begins and ends, for `strips`
    note     one sentence that says what the picture shows, for those who cannot see it and under the chart
    final    nothing will change any more; until then the page asks again, `every_seconds`

A figure without a value draws its empty state.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["lines", "bars", "area", "scatter", "matrix", "treemap", "strips"]
Unit = Literal["usd", "seconds", "ms", "bytes", "rate", "share", "count"]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a scatter. `marked`: on the front, or the one this page is about."""

    x: float
    y: float
    label: str
    marked: bool = False


class FigureSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One line, layer, row or cloud. `band`: lower and upper bound by point, drawn behind a line."""

    name: str
    values: Sequence[float | None] = ()
    points: Sequence[Point] = ()
    dashed: bool = False
    band: Sequence[tuple[float, float] | None] = ()
    strip: str = ""
    unit: Unit | None = None
    upper: float | None = None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A chart's content; see the module."""

    kind: Kind
    unit: Unit
    series: Sequence[FigureSeries]
    x: Sequence[str] = ()
    x_unit: Unit | None = None
    x_from: str = ""
    x_to: str = ""
    x_label: str = ""
    y_label: str = ""
    note: str = ""
    final: bool = True
    every_seconds: int = 5


def document(figure: Figure) -> bytes:
    """The answer's JSON."""
    return msgspec.json.encode(figure)
