"""The metric store: chunks of arrays in, series and exports out.

A report is kept as it came, one row per series (`MetricChunk`). Readers merge: a step said again, by the next attempt
after an interruption, replaces the earlier point. Most jobs say each step once and in order, and then merging is
joining.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Literal
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.db import Scope
from backend.core.storage import new_spool
from backend.jobs.models import Attempt
from backend.jobs.repository import JobRepository, MetricPoint
from backend.jobs.thinning import keep

ExportFormat = Literal["csv", "jsonl"]
MEDIA_TYPES: dict[ExportFormat, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
COLUMNS = ("name", "step", "value", "time")


@dataclass
class Series:
    """Points of one metric, by step. Same length each; times are Unix seconds."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def store_metrics(session: Session, scope: Scope, attempt: Attempt, report: wire.Report, said: wire.Metrics) -> None:
    """Keep a report's points; columns of unequal length are cut to the shortest."""
    rows = []
    for series in said.series:
        length = min(len(series.steps), len(series.values), len(series.times))
        rows.append(
            {
                "name": series.name,
                "steps": series.steps[:length],
                "values": series.values[:length],
                "times": series.times[:length],
            }
        )
    JobRepository(session, scope).add_metric_chunks(attempt, epoch=report.epoch, seq=report.seq, rows=rows)


def metrics_version(session: Session, scope: Scope, job_id: UUID) -> int:
    """A number that grows with every report of metrics: a reader that has it need not read them again."""
    return JobRepository(session, scope).count_metric_chunks(job_id)


def last_values(session: Session, scope: Scope, job_id: UUID) -> dict[str, float]:
    """What each series said last, by name: cheap, however many points there are."""
    return JobRepository(session, scope).last_points(job_id)


def read_metrics(
    session: Session,
    scope: Scope,
    job_id: UUID,
    name: str | None = None,
    *,
    after_step: int | None = None,
    max_points: int | None = None,
) -> dict[str, Series]:
    """Series by name: of all or one; of steps after `after_step`; each thinned to `max_points` that look the same."""
    found: dict[str, Series] = {}
    for chunk in JobRepository(session, scope).metric_chunks(job_id, name, after_step=after_step):
        _join(found.setdefault(chunk.name, Series()), chunk.steps, chunk.values, chunk.times)
    for key, series in found.items():
        whole = _merged(series, after_step)
        found[key] = whole if max_points is None else _thinned(whole, max_points)
    return {key: series for key, series in found.items() if series.steps}


def _join(series: Series, steps: Sequence[int], values: Sequence[float], times: Sequence[float]) -> None:
    series.steps += steps
    series.values += values
    series.times += times


def _merged(series: Series, after_step: int | None) -> Series:
    """Each step once, ascending, as said last; only those after `after_step`."""
    steps = series.steps
    in_order = all(map(int.__lt__, steps, steps[1:]))
    if in_order and (after_step is None or not steps or steps[0] > after_step):
        return series
    points = dict(zip(steps, zip(series.values, series.times, strict=True), strict=True))
    chosen = sorted(step for step in points if after_step is None or step > after_step)
    return Series(chosen, [points[step][0] for step in chosen], [points[step][1] for step in chosen])


def _thinned(series: Series, limit: int) -> Series:
    """At most `limit` points. Agents keep what is no number to themselves, so all are finite."""
    chosen = keep(series.values, series.steps, limit)
    return Series(
        [series.steps[index] for index in chosen],
        [series.values[index] for index in chosen],
        [series.times[index] for index in chosen],
    )


# --- export ---------------------------------------------------------------------------------------


def export_metrics(
    session: Session, scope: Scope, job_id: UUID, kind: ExportFormat, name: str | None = None
) -> IO[bytes]:
    """Every point, by name and step, as a file that stands at its beginning; memory stays flat however many there are.

    It is written before it is sent, so that a slow reader holds a temporary file and no transaction. CSV (RFC 4180)
    has a header.
    """
    repository = JobRepository(session, scope)
    names = [name] if name is not None else repository.metric_names(job_id)
    spool = new_spool()
    try:
        write = _write_csv if kind == "csv" else _write_lines
        write(spool, (rows for each in names for rows in repository.metric_points(job_id, each)))
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool


def _write_csv(file: IO[bytes], pages: Iterator[Sequence[MetricPoint]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for page in pages:
        rows.writerows(page)
    text.detach()


def _write_lines(file: IO[bytes], pages: Iterator[Sequence[MetricPoint]]) -> None:
    encoder = msgspec.json.Encoder()
    for page in pages:
        file.write(encoder.encode_lines([dict(zip(COLUMNS, row, strict=True)) for row in page]))
