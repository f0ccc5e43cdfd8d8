"""Several jobs side by side: what they were asked, what came of it, and their curves over each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend.jobviews import flat
from frontend.views import JobDetail, JobSummary

FEWEST, MOST = 2, 8
GROUPS = ("parameters", "inputs", "tags")
_LOWER_IS_BETTER = ("loss", "error", "seconds", "_ms", "_bytes")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One name with each job's value, in the order of the jobs. `best`: indices of the best values."""

    name: str
    values: Sequence[Any]
    differs: bool
    best: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The page's content."""

    jobs: Sequence[JobSummary]
    asked: Sequence[Row]
    metrics: Sequence[Row]
    final: bool


def compare(details: Sequence[JobDetail], last: Sequence[Mapping[str, float]]) -> Comparison:
    """Rows of what was asked, those that differ first, and of each metric's last value (`last`, job by job)."""
    return Comparison(
        jobs=[one.summary for one in details],
        asked=_asked(details),
        metrics=_metrics(details, last),
        final=all(one.summary.final for one in details),
    )


def _asked(details: Sequence[JobDetail]) -> list[Row]:
    columns = [_facts(one) for one in details]
    names = sorted({name for column in columns for name in column})
    rows = [_row(name, [column.get(name) for column in columns]) for name in names]
    return sorted(rows, key=lambda row: not row.differs)


def _facts(detail: JobDetail) -> dict[str, Any]:
    found: dict[str, Any] = {"instance_type": detail.summary.instance_type}
    for group in GROUPS:
        for name, value in detail.facts.get(group, {}).items():
            plain = name.removeprefix("hyperparameters.")
            found[plain if group == "parameters" else f"{group}.{plain}"] = value
    return found


def _row(name: str, values: list[Any]) -> Row:
    return Row(name=name, values=values, differs=any(value != values[0] for value in values))


def _metrics(details: Sequence[JobDetail], last: Sequence[Mapping[str, float]]) -> list[Row]:
    columns = [_results(detail, found) for detail, found in zip(details, last, strict=True)]
    rows = []
    for name in sorted({name for column in columns for name in column}):
        values = [column.get(name) for column in columns]
        rows.append(Row(name=name, values=values, differs=_row(name, values).differs, best=_best(name, values)))
    return rows


def _results(detail: JobDetail, last: Mapping[str, float]) -> dict[str, float]:
    """What the finished job says of itself, else each curve's last point."""
    said = dict(flat(_metrics_of(detail)))
    return dict(last) | {name: float(value) for name, value in said.items() if isinstance(value, int | float)}


def _metrics_of(detail: JobDetail) -> Mapping[str, Any]:
    prefix = "metrics."
    output = detail.facts.get("output", {})
    return {name.removeprefix(prefix): value for name, value in output.items() if name.startswith(prefix)}


def _best(name: str, values: Sequence[float | None]) -> frozenset[int]:
    """Nobody is best where all are equal, or where the name does not say which way is better."""
    known = [value for value in values if value is not None]
    lower = any(word in name for word in _LOWER_IS_BETTER)
    if len(set(known)) < FEWEST or not (lower or "accuracy" in name):
        return frozenset()
    top = min(known) if lower else max(known)
    return frozenset(index for index, value in enumerate(values) if value == top)
