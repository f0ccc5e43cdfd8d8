"""What one assignment uses of its instance: cores, memory, disk and GPUs, counted from outside while it runs.

Lifecycle
---------
A `Sampler` begins when the assignment's process is there and has a thread of its own, so that the thread which reads
the process's output never waits for a count. It notes the counters, waits, notes them again: the difference is a
sample. Processor time and bytes are means over the whole wait, so nothing between two looks is missed; memory is what
is held at the end of it.

waiting → *looked*: a sample a second at first, then fewer the longer it lasts (`PACE`), down to one a minute: an
attempt of 28 days has about 42,000. A look that was dear makes the next wait longer, so that looking never costs more
than `COST` of a core, however many processes there are. → *told*: samples become a report once they span
`REPORT_SECONDS`, and what is left when the process ends, before its end is told. Reports go through the spool like all
others: numbered, kept through an outage and a restart, accepted once. → *over*: the process is gone; what it did since
the last look is not known.

The counters are the kernel's: the control group's where there is one, otherwise those of every process below the
sandbox's first, where a parent's include the children that it has waited for. Disk bytes are those that went to or came
from a device (a dataset in the page cache is not read again). The sandbox has no network, so none is counted.
A process that cannot be looked at is left out; nothing here ever fails or stops an assignment.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil

from backend.core.wire import Utilisation
from worker.agent.gpus import Gpus, GpuUse, open_gpus
from worker.agent.limits import ControlGroup, Limits
from worker.agent.process import SandboxedProcess

PACE = ((20.0, 1.0), (120.0, 2.0), (600.0, 5.0), (3600.0, 10.0), (86_400.0, 30.0))
"""Until an age, a sample every so many seconds."""
LAST_PACE = 60.0
COST = 0.005
"""The most that looking may cost, of one core."""
REPORT_SECONDS = 5.0
JOIN_SECONDS = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LOG = logging.getLogger(__name__)


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What has been used since some beginning, and the memory held now."""

    cpu_seconds: float
    memory_bytes: int
    read_bytes: int
    written_bytes: int


class _ProcessCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Of one process and the children it has waited for; memory of itself alone."""

    cpu_seconds: float
    resident_bytes: int
    read_bytes: int
    written_bytes: int


def read_counters(top: int, group: ControlGroup) -> Counters:
    """Of everything in a sandbox, by its control group, or from process `top` down; zero where it is gone."""
    found = [_read_process(pid) for pid in group.process_ids() or _tree(top)]
    every = [each for each in found if each is not None]
    cpu, memory = group.cpu_seconds(), group.working_memory_bytes()
    return Counters(
        cpu_seconds=sum(each.cpu_seconds for each in every) if cpu is None else cpu,
        memory_bytes=sum(each.resident_bytes for each in every) if memory is None else memory,
        read_bytes=sum(each.read_bytes for each in every),
        written_bytes=sum(each.written_bytes for each in every),
    )


def _read_process(pid: int) -> _ProcessCounters | None:
    """proc_pid_stat(5) and proc_pid_io(5); None for one that is gone."""
    try:
        # The command's name may hold spaces and brackets: fields count from behind its last bracket.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    read = written = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/io").read_bytes().splitlines():
            name, _, value = line.partition(b": ")
            if name == b"read_bytes":
                read = int(value)
            elif name == b"write_bytes":
                written = int(value)
    return _ProcessCounters(
        cpu_seconds=sum(int(each) for each in fields[11:15]) / _TICKS,
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
        read_bytes=read,
        written_bytes=written,
    )


def _tree(top: int) -> list[int]:
    """A process and all below it, without looking at any other process of the host."""
    found, pending = [], [top]
    while pending:
        pid = pending.pop()
        found.append(pid)
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                pending += map(int, (thread / "children").read_text().split())
        except FileNotFoundError:
            if Path(f"/proc/{pid}").exists():  # a kernel without these lists
                return _slow_tree(top)
        except OSError:
            pass
    return found


def _slow_tree(top: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [top, *(child.pid for child in psutil.Process(top).children(recursive=True))]
    return []


class Samples:
    """Samples on their way into a report."""

    def __init__(self, limits: Limits, gpus: Gpus | None) -> None:
        self._limits = limits
        self._gpus = gpus
        self._rows: list[tuple[float, float, float, float, float, float]] = []
        self._gpu_rows: list[GpuUse] = []

    @property
    def seconds(self) -> float:
        """How long they span."""
        return sum(row[1] for row in self._rows)

    def add(self, before: Counters, after: Counters, span: float, gpu: GpuUse | None) -> None:
        """The difference of two looks, `span` seconds apart. A process that took its count with it makes it no less."""

        def rate(first: float, second: float) -> float:
            return round(max(0.0, second - first) / span, 4)

        self._rows.append((
            round(time.time(), 3),
            round(span, 3),
            rate(before.cpu_seconds, after.cpu_seconds),
            float(after.memory_bytes),
            rate(before.read_bytes, after.read_bytes),
            rate(before.written_bytes, after.written_bytes),
        ))  # fmt: skip
        if gpu is not None:
            self._gpu_rows.append(gpu)

    def take(self) -> Utilisation | None:
        """All of them, as a report; None where there are none."""
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        gpu_rows, self._gpu_rows = self._gpu_rows, []
        times, spans, cores, memory, read, written = (list(column) for column in zip(*rows, strict=True))
        measured = self._gpus is not None and len(gpu_rows) == len(rows)
        return Utilisation(
            cpu_count=self._limits.cpu_count,
            memory_limit_bytes=self._limits.memory_bytes,
            times=times,
            spans=spans,
            cpu_cores=cores,
            memory_bytes=memory,
            read_bytes_per_second=read,
            written_bytes_per_second=written,
            gpu_count=self._gpus.count if measured and self._gpus else 0,
            gpu_memory_limit_bytes=self._gpus.memory_bytes if measured and self._gpus else 0,
            gpu_share=[each.share for each in gpu_rows] if measured else [],
            gpu_memory_bytes=[each.memory_bytes for each in gpu_rows] if measured else [],
        )


def pause_seconds(age_seconds: float, cost_seconds: float) -> float:
    """How long to wait after a look that cost so much, at this age of the process."""
    pace = next((pace for until, pace in PACE if age_seconds < until), LAST_PACE)
    return max(pace, cost_seconds / COST)


class Sampler:
    """Samples one process while its block lasts, and tells in reports. See the module."""

    def __init__(self, process: SandboxedProcess, limits: Limits, tell: Callable[[Utilisation], None]) -> None:
        self._process = process
        self._limits = limits
        self._tell = tell
        self._over = threading.Event()
        self._muted = False
        self._thread = threading.Thread(target=self._run, name="utilisation", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except RuntimeError:
            _LOG.exception("the use of an assignment is not measured")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell what is left; the process may be gone. A look that a driver holds up tells nothing any more."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)
        self._muted = self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._sample()
        except Exception:  # noqa: BLE001 # the edge of the thread: no count is worth an assignment
            _LOG.exception("the use of an assignment is not measured any more")

    def _sample(self) -> None:
        gpus = open_gpus()
        samples = Samples(self._limits, gpus)
        began = at = time.monotonic()
        before = self._look()
        pause = pause_seconds(0.0, 0.0)
        while not self._over.wait(pause):
            spent = time.thread_time()
            after, now = self._look(), time.monotonic()
            if after.memory_bytes > 0:
                samples.add(before, after, now - at, gpus.read() if gpus is not None else None)
            before, at = after, now
            if samples.seconds >= REPORT_SECONDS:
                self._flush(samples)
            pause = pause_seconds(now - began, time.thread_time() - spent)
        self._flush(samples)

    def _look(self) -> Counters:
        return read_counters(self._process.top, self._process.group)

    def _flush(self, samples: Samples) -> None:
        said = samples.take()
        if said is not None and not self._muted:
            self._tell(said)
