"""What a process says and prints, made into reports that are few and never late.

The first `Progress` and the first one of a step are reports at once (time to first step is measured), later ones at
most every 0.5 s; points of metrics and log lines are gathered for up to 1 s, logs up to 64 KiB. Everything else
(`Started`, a checkpoint, a result, an end) is a report at once, after whatever was gathered before it. A flood of
output is cut to 64 KiB/s after a burst of 1 MiB, and a line says how much was dropped. Points of metrics are cut
likewise, to 5,000/s after a burst of 200,000, and a job may have `SERIES_LIMIT` series.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from backend.core.wire import Logs, Metrics, MetricSeries, Progress, ReportBody, Utilisation
from worker.agent.spool import Spool

PROGRESS_SECONDS = 0.5
GATHER_SECONDS = 1.0
LOG_REPORT_BYTES = 64 << 10
LOG_BYTES_PER_SECOND = 64 << 10
LOG_BURST_BYTES = 1 << 20
METRIC_POINTS_PER_REPORT = 20_000
POINTS_PER_SECOND = 5_000
POINT_BURST = 200_000
SERIES_LIMIT = 1000
TAIL_LINES = 20


class OutputAllowance:
    """A token bucket over bytes of log or points: refilled at `per_second`, never above `burst`."""

    def __init__(self, burst: int = LOG_BURST_BYTES, per_second: int = LOG_BYTES_PER_SECOND) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = float(burst)
        self._at = time.monotonic()

    def take(self, amount: int) -> bool:
        """True if that much more may be kept."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class Reporter:
    """Reports of one assignment. Safe to use from several threads."""

    def __init__(self, spool: Spool, elapsed_seconds: Callable[[], float], wake: Callable[[], None]) -> None:
        self.spool = spool
        self._elapsed_seconds = elapsed_seconds
        self._wake = wake
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._progress_told_at: float | None = None
        self._stepped = False
        self._series: set[str] = set()
        self._point_allowance = OutputAllowance(POINT_BURST, POINTS_PER_SECOND)
        self._dropped_points = 0
        self._points: dict[str, MetricSeries] = {}
        self._point_count = 0
        self._lines: list[str] = []
        self._line_times: list[float] = []
        self._line_bytes = 0
        self._gathering_since: float | None = None
        self._allowance = OutputAllowance()
        self._dropped_lines = 0
        self._dropped_bytes = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def tell(self, body: ReportBody) -> None:
        """Report at once, after what was gathered."""
        with self._lock:
            self._flush_all()
            self._append(body)

    def progress(self, progress: Progress) -> None:
        """Note how far the process is."""
        with self._lock:
            self._progress = progress
            if self._progress_told_at is None or (progress.step > 0 and not self._stepped):
                self._stepped = progress.step > 0
                self._flush_progress()

    def metrics(self, metrics: Metrics) -> None:
        """Gather points."""
        with self._lock:
            for series in metrics.series:
                if not series.steps or not self._known(series.name):
                    continue
                if not self._point_allowance.take(len(series.steps)):
                    self._dropped_points += len(series.steps)
                    continue
                kept = self._points.setdefault(
                    series.name, MetricSeries(name=series.name, steps=[], values=[], times=[])
                )
                kept.steps.extend(series.steps)
                kept.values.extend(series.values)
                kept.times.extend(series.times)
                self._point_count += len(series.steps)
            self._gather()
            if self._point_count > METRIC_POINTS_PER_REPORT:
                self._flush_metrics()

    def utilisation(self, body: Utilisation) -> None:
        """Report samples that were gathered elsewhere; they wait for nothing and nothing waits for them."""
        with self._lock:
            self._append(body)

    def _known(self, name: str) -> bool:
        """True if points of this series are kept; says so once where there are too many."""
        if name in self._series:
            return True
        if len(self._series) > SERIES_LIMIT:
            return False
        self._series.add(name)
        if len(self._series) > SERIES_LIMIT:
            self.line(f"[modelyard: points of more than {SERIES_LIMIT} series are dropped, {name!r} and later ones]")
            return False
        return True

    def line(self, text: str) -> None:
        """Gather one line of output, unless it is too much."""
        with self._lock:
            self._tail.append(text)
            size_bytes = len(text) + 1
            if not self._allowance.take(size_bytes):
                self._dropped_lines += 1
                self._dropped_bytes += size_bytes
                self._gather()
                return
            self._keep_dropped()
            self._keep_line(text)
            if self._line_bytes >= LOG_REPORT_BYTES:
                self._flush_logs()

    def tail(self) -> list[str]:
        """The last lines of output, as evidence."""
        with self._lock:
            return list(self._tail)

    def flush_due(self) -> None:
        """Report what has been gathered long enough. Called a few times a second."""
        with self._lock:
            now = time.monotonic()
            told = self._progress_told_at
            if self._progress is not None and (told is None or now - told >= PROGRESS_SECONDS):
                self._flush_progress()
            if self._gathering_since is not None and now - self._gathering_since >= GATHER_SECONDS:
                self._flush_metrics()
                self._flush_logs()
                self._gathering_since = None

    def _keep_line(self, text: str) -> None:
        self._lines.append(text)
        self._line_times.append(time.time())
        self._line_bytes += len(text) + 1
        self._gather()

    def _keep_dropped(self) -> None:
        """The line that stands for what was dropped."""
        if self._dropped_lines:
            self._keep_line(
                f"[modelyard: {self._dropped_lines} lines ({self._dropped_bytes} bytes) of output dropped:"
                f" more than {LOG_BYTES_PER_SECOND // 1024} KiB/s]"
            )
            self._dropped_lines = self._dropped_bytes = 0

    def _gather(self) -> None:
        if self._gathering_since is None:
            self._gathering_since = time.monotonic()

    def _append(self, body: ReportBody) -> None:
        self.spool.append(self._elapsed_seconds(), body)
        self._wake()

    def _flush_all(self) -> None:
        if self._progress is not None:
            self._flush_progress()
        self._flush_metrics()
        self._flush_logs()

    def _flush_progress(self) -> None:
        if self._progress is not None:
            self._append(self._progress)
            self._progress = None
            self._progress_told_at = time.monotonic()

    def _flush_metrics(self) -> None:
        if self._dropped_points:
            said = f"{self._dropped_points} points dropped: more than {POINTS_PER_SECOND}/s"
            self._dropped_points = 0
            self.line(f"[modelyard: {said}]")
        if self._points:
            self._append(Metrics(series=list(self._points.values())))
            self._points = {}
            self._point_count = 0

    def _flush_logs(self) -> None:
        self._keep_dropped()
        if self._lines:
            self._append(Logs(lines=self._lines, times=self._line_times))
            self._lines, self._line_times, self._line_bytes = [], [], 0
