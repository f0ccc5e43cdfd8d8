"""What a job process sees of the platform: its spec, its folders and the line to its agent.

A job process is started by the agent as `python -m <entrypoint>` in a sandbox, with its current folder at the
job folder (`/job`; any folder in tests), laid out as `backend.core.wire.JobSpec` says. It talks to
the agent over the stream socket named by `MODELYARD_AGENT_SOCKET`; without that variable its
messages are printed to standard output, so a trainer can be run by hand.

Life: `JobProcess.open()` → work, telling `progress`, `metrics`, `checkpoint_written` → `result_written` or
`failed` → exit. SIGTERM sets `stop_requested`; the loop looks at it between steps, writes a checkpoint, and
exits with `STOPPED_EXIT_CODE`.

`run_job` is that life around a work function: the function raises `JobError` (a failure with a class and a
plain reason) or `JobStopped` (stopped as asked, checkpoint written); anything else it raises is told as a
fault of the platform. Whatever the process writes to standard output and error is the job's log.
"""

import errno
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from backend.core.wire import (
    CheckpointWritten,
    Failure,
    FailureClass,
    JobFailed,
    JobMessage,
    JobSpec,
    Metrics,
    MetricSeries,
    Progress,
    ResultWritten,
)

STOPPED_EXIT_CODE = 75
FAILED_EXIT_CODE = 65
UNHEARD_EXIT_CODE = 69
"""The line to the agent is broken; the agent, if it lives, knows this code and counts an interruption."""
AGENT_SOCKET_VARIABLE = "MODELYARD_AGENT_SOCKET"


class JobError(Exception):
    """The job cannot go on: `reason` is one plain sentence, `hint` says what would help."""

    def __init__(self, failure_class: FailureClass, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.failure_class: FailureClass = failure_class
        self.reason = reason
        self.hint = hint


class JobStopped(Exception):
    """The work stopped as asked; its checkpoint is written."""


class JobProcess:
    """The one object a trainer or compressor is handed."""

    def __init__(self, spec: JobSpec, folder: Path, line: socket.socket | None) -> None:
        self.spec = spec
        self.folder = folder
        self._line = line
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @classmethod
    def open(cls, folder: Path | None = None) -> "JobProcess":
        """Read `spec.json` in `folder` (default: the current one) and connect to the agent."""
        folder = (folder or Path.cwd()).resolve()
        spec = msgspec.json.decode((folder / "spec.json").read_bytes(), type=JobSpec)
        address = os.environ.get(AGENT_SOCKET_VARIABLE)
        line = None
        if address:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                line.connect(address)
            except FileNotFoundError as error:
                line.close()
                raise ConnectionError(f"nobody listens at {address}") from error
        process = cls(spec, folder, line)
        signal.signal(signal.SIGTERM, process._on_sigterm)
        return process

    def close(self) -> None:
        """Nothing more is told."""
        if self._line is not None:
            self._line.close()

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        self._stop.set()

    @property
    def stop_requested(self) -> bool:
        """True once the agent asked for an end."""
        return self._stop.is_set()

    def input_folder(self, channel: str) -> Path:
        """Folder of one input channel (read-only)."""
        return self.folder / "input" / channel

    @property
    def checkpoint_folder(self) -> Path | None:
        """Folder of the checkpoint to resume from, or None on a fresh start."""
        return self.folder / "checkpoint" if self.spec.resume_step is not None else None

    @property
    def work_folder(self) -> Path:
        """The only writable folder."""
        return self.folder / "work"

    def tell(self, message: JobMessage) -> None:
        """Send one message; raises OSError when the agent is gone (the process should then end)."""
        line = msgspec.json.encode(message) + b"\n"
        with self._lock:
            if self._line is None:
                sys.stdout.write(line.decode())
                sys.stdout.flush()
            else:
                self._line.sendall(line)

    def log(self, line: str) -> None:
        """One plain line of the job's log."""
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def progress(self, step: int, total_steps: int, phase: str) -> None:
        """How far: `step` of `total_steps` (0 = unknown), in a short plain phrase."""
        self.tell(Progress(step=step, total_steps=total_steps, phase=phase))

    def metrics(self, series: list[MetricSeries]) -> None:
        """Append points to series."""
        self.tell(Metrics(series=series))

    def checkpoint_written(self, step: int, folder: Path) -> None:
        """A complete checkpoint lies in `folder`, somewhere under the work folder."""
        self.tell(CheckpointWritten(step=step, folder=str(folder.relative_to(self.work_folder))))

    def result_written(self, folder: Path, summary: dict[str, Any]) -> None:
        """The artifact lies in `folder`, somewhere under the work folder."""
        self.tell(ResultWritten(folder=str(folder.relative_to(self.work_folder)), summary=summary))

    def failed(self, failure: Failure) -> None:
        """The job cannot go on; exit with `FAILED_EXIT_CODE` after this."""
        self.tell(JobFailed(failure=failure))


def run_job(work: Callable[[JobProcess], None], folder: Path | None = None) -> int:
    """Open the job process, do `work` and return the exit code: 0, `STOPPED_EXIT_CODE` or `FAILED_EXIT_CODE`.

    A failure is told to the agent with the peak memory as evidence. An agent that cannot be told anything ends the
    process with `UNHEARD_EXIT_CODE`.
    """
    try:
        process = JobProcess.open(folder)
        try:
            return _run(process, work)
        finally:
            process.close()
    except ConnectionError as error:
        sys.stderr.write(f"The agent is gone: {error}\n")
        return UNHEARD_EXIT_CODE


def _run(process: JobProcess, work: Callable[[JobProcess], None]) -> int:
    """The same. Raises ConnectionError where the line to the agent breaks."""
    try:
        work(process)
    except JobStopped:
        process.log("Stopped as asked.")
        return STOPPED_EXIT_CODE
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - the edge of the process: every failure must be told
        failure = _failure_of(error)
        process.log(f"Failed: {failure.reason}")
        process.failed(failure)
        return FAILED_EXIT_CODE
    return 0


def _failure_of(error: Exception) -> Failure:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if isinstance(error, JobError):
        return Failure(
            failure_class=error.failure_class,
            reason=error.reason,
            hint=error.hint,
            exit_code=FAILED_EXIT_CODE,
            peak_memory_bytes=peak,
        )
    traceback.print_exception(error)
    if isinstance(error, MemoryError):
        return Failure(
            failure_class="out_of_memory",
            reason="The job ran out of memory on its instance.",
            hint="Choose an instance type with more memory, or make the job smaller.",
            exit_code=FAILED_EXIT_CODE,
            peak_memory_bytes=peak,
        )
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failure(
            failure_class="platform",
            reason=f"The disk of the job's instance is full: {error}",
            hint="The job goes on from its newest checkpoint on an instance with room.",
            exit_code=FAILED_EXIT_CODE,
            peak_memory_bytes=peak,
        )
    return Failure(
        failure_class="platform",
        reason=f"Unexpected {type(error).__name__}: {error}",
        hint="The log holds the traceback.",
        exit_code=FAILED_EXIT_CODE,
        peak_memory_bytes=peak,
    )
