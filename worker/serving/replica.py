"""`python -m worker.serving.replica`: the parent of a replica's processes.

Its current folder is the replica's (see the package docstring). It loads the libraries once, so that the
processes forked from it share their memory, keeps `spec.processes` of them alive, and ends with them.

Exit status: 0 after SIGTERM, 78 when the replica can never serve (bad spec, a model that does not load).
"""

import gc
import importlib
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from backend.core.wire import ReplicaSpec
from worker.serving.errors import ReplicaError
from worker.serving.limits import raise_descriptor_limit
from worker.serving.log import log

CANNOT_SERVE_EXIT_CODE = 78
STOP_SECONDS = 9.5
RESTART_SECONDS = (0.0, 0.2, 1.0, 5.0)
STABLE_SECONDS = 30.0
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


class Parent:
    """Keeps the processes of one replica alive. Single-threaded; signals are awaited, never handled."""

    def __init__(self, spec: ReplicaSpec, folder: Path) -> None:
        self._spec = spec
        self._folder = folder
        self._numbers: dict[int, int] = {}
        self._started_at: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._due: dict[int, float] = dict.fromkeys(range(spec.processes), 0.0)
        self._pipe_read, self._pipe_write = os.pipe()

    def run(self) -> int:
        """Run until SIGTERM; answers the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        while True:
            self._start_due()
            wait = min((at - time.monotonic() for at in self._due.values()), default=60.0)
            received = signal.sigtimedwait(SIGNALS, max(0.01, wait))
            if received is not None and received.si_signo != signal.SIGCHLD:
                return self._stop(0)
            for code in self._reap():
                if code == CANNOT_SERVE_EXIT_CODE:
                    return self._stop(CANNOT_SERVE_EXIT_CODE)

    def _start_due(self) -> None:
        now = time.monotonic()
        for number, at in list(self._due.items()):
            if at <= now:
                del self._due[number]
                self._started_at[number] = now
                pid = os.fork()
                if pid == 0:
                    os._exit(self._child(number))
                self._numbers[pid] = number

    def _child(self, number: int) -> int:
        os.close(self._pipe_write)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        from worker.serving import process, usage  # noqa: PLC0415  loaded before, see main()

        try:
            for segment_id in usage.recover(self._folder / "usage"):
                log("usage segment recovered", segment_id=segment_id)
            process.run(self._spec, self._folder, number, self._pipe_read)
        except ReplicaError as error:
            log("replica cannot serve", replica_id=self._spec.replica_id, error=str(error))
            return CANNOT_SERVE_EXIT_CODE
        except Exception as error:  # noqa: BLE001  the parent decides what follows
            log("replica process failed", replica_id=self._spec.replica_id, error=repr(error))
            return 1
        return 0

    def _reap(self) -> list[int]:
        """Exit codes of processes that ended; their restarts become due."""
        codes: list[int] = []
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            number = self._numbers.pop(pid, None)
            if number is None:
                continue
            codes.append(os.waitstatus_to_exitcode(status))
            now = time.monotonic()
            lived = now - self._started_at[number]
            failures = 0 if lived > STABLE_SECONDS else self._failures.get(number, -1) + 1
            self._failures[number] = failures
            self._due[number] = now + RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]
            log("replica process ended", replica_id=self._spec.replica_id, pid=pid, exit_code=codes[-1])
        return codes

    def _stop(self, code: int) -> int:
        for pid in self._numbers:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while self._numbers and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            self._reap()
        for pid in self._numbers:
            log("replica process killed: it did not drain in time", pid=pid)
            os.kill(pid, signal.SIGKILL)
        return code


def main() -> int:
    """Read `spec.json` in the current folder and serve it."""
    folder = Path.cwd()
    # one thread per process: they share the cores already
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        spec = msgspec.json.decode((folder / "spec.json").read_bytes(), type=ReplicaSpec)
    except (OSError, msgspec.DecodeError) as error:
        log("replica cannot serve", error=f"spec.json: {error}")
        return CANNOT_SERVE_EXIT_CODE
    if spec.processes < 1 or not spec.variants:
        log("replica cannot serve", error="spec.json names no variant or no process")
        return CANNOT_SERVE_EXIT_CODE
    raise_descriptor_limit()
    importlib.import_module("worker.serving.process")  # after the environment is set: numpy reads it once
    gc.collect()
    gc.freeze()
    return Parent(spec, folder).run()


if __name__ == "__main__":
    sys.exit(main())
