"""What assignments used of their instances, as their agents measured it: kept, thinned, summed up, forgotten.

Lifecycle
---------
An agent samples an assignment while its process runs (`worker.agent.utilisation`) and says so in numbered reports: a
row per report (`UtilisationChunk`), stored with the report's acceptance, so a replay stores nothing twice and what was
measured during an outage arrives after it. Rows are only ever added, and only the assignment's organization sees them.
Samples become fewer the longer an assignment lasts, so an attempt of 28 days leaves about 42,000 of them (4 MB);
`KEEP_DAYS` after they came they are deleted. Readers get at most so many points: neighbours are merged, means
stay means and peaks stay peaks, and sums and peaks are told of all samples.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.ids import floor_id
from backend.fleet.models import Assignment, UtilisationChunk
from backend.fleet.utilisation_repository import COLUMNS, HELD, LIMITS, MEANS, UtilisationRepository, delete_before

KEEP_DAYS: Final = 90
SAMPLES_PER_REPORT: Final = 1000
LARGEST: Final = 2.0**62


@dataclass(frozen=True, kw_only=True)
class UtilisationSummary:
    """Over all samples: means, peaks and sums. GPU figures are None where no GPU was measured."""

    measured_seconds: float
    cpu_cores_mean: float
    cpu_cores_peak: float
    memory_bytes_peak: float
    read_bytes: float
    written_bytes: float
    gpu_share_mean: float | None
    gpu_memory_bytes_peak: float | None


@dataclass(kw_only=True)
class Use:
    """Samples of one assignment as columns, see `wire.Utilisation`, and its newest limits."""

    cpu_count: float = 0.0
    memory_limit_bytes: int = 0
    gpu_count: int = 0
    gpu_memory_limit_bytes: int = 0
    times: list[float] = field(default_factory=list)
    spans: list[float] = field(default_factory=list)
    cpu_cores: list[float] = field(default_factory=list)
    memory_bytes: list[float] = field(default_factory=list)
    read_bytes_per_second: list[float] = field(default_factory=list)
    written_bytes_per_second: list[float] = field(default_factory=list)
    gpu_share: list[float | None] = field(default_factory=list)
    gpu_memory_bytes: list[float | None] = field(default_factory=list)

    def add(self, chunk: Row[*tuple[Any, ...]]) -> None:
        """The samples of one report; where it measured no GPU, None stands for that."""
        self.cpu_count, self.memory_limit_bytes = chunk.cpu_count, chunk.memory_limit_bytes
        if chunk.gpu_count:
            self.gpu_count, self.gpu_memory_limit_bytes = chunk.gpu_count, chunk.gpu_memory_limit_bytes
        none = [None] * len(chunk.times)
        for name in COLUMNS:
            getattr(self, name).extend(getattr(chunk, name) or none)

    def thinned(self, limit: int) -> "Use":
        """At most `limit` samples, each of as many neighbours: means weighted by their spans, memory at its highest."""
        count = len(self.times)
        if count <= limit:
            return self
        bounds = [number * count // limit for number in range(limit + 1)]
        parts = [slice(begin, end) for begin, end in pairwise(bounds)]
        merged: dict[str, list[float | None]] = {name: [] for name in COLUMNS}
        for part in parts:
            spans = self.spans[part]
            merged["times"].append(self.times[part][-1])
            merged["spans"].append(sum(spans))
            for name in MEANS:
                merged[name].append(_mean(getattr(self, name)[part], spans))
            for name in HELD:
                merged[name].append(_highest(getattr(self, name)[part]))
        limits = {name: getattr(self, name) for name in LIMITS}
        return Use(**limits, **merged)  # type: ignore[arg-type]  # columns by name

    def summary(self) -> UtilisationSummary | None:
        """None where nothing was measured."""
        if not self.times:
            return None
        return UtilisationSummary(
            measured_seconds=sum(self.spans),
            cpu_cores_mean=_mean(self.cpu_cores, self.spans) or 0.0,
            cpu_cores_peak=max(self.cpu_cores),
            memory_bytes_peak=max(self.memory_bytes),
            read_bytes=sum(map(float.__mul__, self.read_bytes_per_second, self.spans)),
            written_bytes=sum(map(float.__mul__, self.written_bytes_per_second, self.spans)),
            gpu_share_mean=_mean(self.gpu_share, self.spans),
            gpu_memory_bytes_peak=_highest(self.gpu_memory_bytes),
        )


def _mean(values: Sequence[float | None], spans: Sequence[float]) -> float | None:
    pairs = [(value, span) for value, span in zip(values, spans, strict=True) if value is not None]
    whole = sum(span for _, span in pairs)
    return sum(value * span for value, span in pairs) / whole if whole > 0 else None


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def store_utilisation(
    session: Session, scope: Scope, assignment: Assignment, report: wire.Report, said: wire.Utilisation
) -> None:
    """Keep a report's samples: at most `SAMPLES_PER_REPORT`, columns cut to the shortest, no number below 0."""
    needed = [getattr(said, name) for name in COLUMNS if not name.startswith("gpu_")]
    length = min(SAMPLES_PER_REPORT, *(len(column) for column in needed))
    with_gpu = said.gpu_count > 0 and len(said.gpu_share) >= length and len(said.gpu_memory_bytes) >= length
    if length == 0:
        return
    columns = {
        name: [_bounded(value) for value in getattr(said, name)[:length]] if with_gpu or name[:4] != "gpu_" else []
        for name in COLUMNS
    }
    UtilisationRepository(session, scope).add(
        UtilisationChunk(
            organization_id=scope.organization_id,
            assignment_id=assignment.id,
            epoch=report.epoch,
            seq=report.seq,
            cpu_count=_bounded(said.cpu_count),
            memory_limit_bytes=int(_bounded(said.memory_limit_bytes)),
            gpu_count=min(said.gpu_count, 1024) if with_gpu else 0,
            gpu_memory_limit_bytes=int(_bounded(said.gpu_memory_limit_bytes)) if with_gpu else 0,
            **columns,
        )
    )


def _bounded(value: float) -> float:
    return min(max(0.0, value), LARGEST)


def read_utilisation(session: Session, scope: Scope, assignment_ids: Collection[UUID]) -> Mapping[UUID, Use]:
    """All samples by assignment, oldest first; assignments of which none are known are left out."""
    found: dict[UUID, Use] = {}
    if assignment_ids:
        for chunk in UtilisationRepository(session, scope).chunks(assignment_ids):
            found.setdefault(chunk.assignment_id, Use()).add(chunk)
    return found


def forget_utilisation(session: Session, *, limit: int) -> int:
    """Delete up to `limit` reports older than `KEEP_DAYS`; returns how many. The controller's, across tenants."""
    before: datetime = database_now(session) - timedelta(days=KEEP_DAYS)
    return delete_before(session, floor_id(before), limit=limit)
