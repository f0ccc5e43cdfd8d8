"""What a job process sees of the platform: its spec, its folders and the line to its agent.

A job process is started by the agent as `python -m <entrypoint>` in a sandbox, with its current folder at the
job folder (`/job`; any folder in tests), laid out as `backend.core.wire.JobSpec` says. It talks to
the agent over the stream socket named by `MODELYARD_AGENT_SOCKET`; without that variable its
messages are printed to standard output, so a trainer can be run by hand.

Life: `JobProcess.open()` → work, telling `progress`, `metrics`, `checkpoint_written` → `result_written` or
`failed` → exit. SIGTERM sets `stop_requested`; the loop looks at it between steps, writes a checkpoint, and
exits with `STOPPED_EXIT_CODE`.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from backend.core.wire import (
    CheckpointWritten,
    Failure,
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
AGENT_SOCKET_VARIABLE = "MODELYARD_AGENT_SOCKET"


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
            line.connect(address)
        process = cls(spec, folder, line)
        signal.signal(signal.SIGTERM, process._on_sigterm)
        return process

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
