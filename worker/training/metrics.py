"""Metrics on their way to the agent: collected as columns, sent every half second."""

import time

from torch import Tensor

from backend.core.wire import MetricSeries
from worker.jobprocess import JobProcess

FLUSH_SECONDS = 0.5


class MetricRecorder:
    """Points are kept as they are, even on a GPU, and read only when sent: a step never waits for its
    metric.
    """

    def __init__(self, process: JobProcess) -> None:
        self._process = process
        self._series: dict[str, list[tuple[int, float | Tensor, float]]] = {}
        self._flushed_at = time.monotonic()

    def add(self, step: int, values: dict[str, float | Tensor]) -> None:
        """One point (0-dimensional where it is a tensor) for each named series."""
        now = time.time()
        for name, value in values.items():
            self._series.setdefault(name, []).append((step, value, now))

    @property
    def due(self) -> bool:
        """True half a second after the last flush."""
        return time.monotonic() - self._flushed_at >= FLUSH_SECONDS

    def flush(self) -> None:
        """Send what was collected."""
        series = [
            MetricSeries(
                name=name,
                steps=[step for step, _, _ in points],
                values=[float(value) for _, value, _ in points],
                times=[at for _, _, at in points],
            )
            for name, points in self._series.items()
        ]
        if series:
            self._process.metrics(series)
        self._series = {}
        self._flushed_at = time.monotonic()
