"""Watching one running process: what was asked of it, and what it may use."""

import time
from pathlib import Path
from threading import Event

from backend.core.wire import Failure
from worker.agent import outcome
from worker.agent.limits import Limits
from worker.agent.process import SandboxedProcess, disk_bytes
from worker.agent.run import StopRequest

MEMORY_SECONDS = 0.25
DISK_SECONDS = 2.0


class Watch:
    """Ends a process that must end: SIGTERM, then SIGKILL after the grace. `verdict` says why, if it was its fault."""

    def __init__(
        self,
        process: SandboxedProcess,
        limits: Limits,
        *,
        work: Path,
        grace_seconds: float,
        max_runtime_seconds: float | None,
    ) -> None:
        self._process = process
        self._limits = limits
        self._work = work
        self._grace_seconds = grace_seconds
        self._max_runtime_seconds = max_runtime_seconds
        self._started = time.monotonic()
        self._kill_at: float | None = None
        self._memory_due = self._disk_due = self._started
        self._watched_peak = 0
        self.out_of_memory = False
        self.verdict: Failure | None = None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory seen, by the kernel or by watching."""
        return self._process.group.peak_memory_bytes() or self._watched_peak or None

    def look(self, stop_request: StopRequest | None, abandoned: Event) -> None:
        """Called several times a second while the process runs."""
        now = time.monotonic()
        if abandoned.is_set():
            self._process.kill()
            return
        if stop_request is not None:
            self._end(now)
        limit = self._max_runtime_seconds
        if limit is not None and now - self._started > limit and self._kill_at is None:
            self.verdict = outcome.timed_out(limit)
            self._end(now)
        if not self._process.group.limits_memory and now >= self._memory_due:
            self._memory_due = now + MEMORY_SECONDS
            self._look_at_memory()
        if now >= self._disk_due:
            began = time.monotonic()
            self._look_at_disk()
            self._disk_due = now + max(DISK_SECONDS, 20 * (time.monotonic() - began))
        if self._kill_at is not None and now >= self._kill_at:
            self._process.kill()

    def _end(self, now: float) -> None:
        if self._kill_at is None:
            self._process.terminate()
            self._kill_at = now + self._grace_seconds

    def _look_at_memory(self) -> None:
        used = self._process.memory_bytes()
        self._watched_peak = max(self._watched_peak, used)
        if used > self._limits.memory_bytes:
            self.out_of_memory = True
            self._process.kill()

    def _look_at_disk(self) -> None:
        if disk_bytes(self._work) > self._limits.disk_bytes:
            self.verdict = outcome.disk_full(self._limits.disk_bytes)
            self._process.kill()
