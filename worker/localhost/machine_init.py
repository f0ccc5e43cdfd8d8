"""Process one of a machine: what systemd is on an instance elsewhere. Run by path, standard library only.

`python -I -S machine_init.py <agent program> <argument>…`. It starts the agent in a session of its own and starts
it again, with backoff, when it dies. It is a subreaper: whatever anything on the machine starts stays below it,
also double-forked and without environment, so "no process left" can be proven; and it outlives its daemon.

SIGTERM: once to the agent's process group; when the agent has ended, SIGKILL to everything below, then the end.
How long that may take is the daemon's business.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = {signal.SIGTERM, signal.SIGCHLD}
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_STEADY_AFTER_SECONDS = 60.0


def _parents() -> dict[int, int]:
    """Process id → parent, of all living processes (zombies are none)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in {"Z", "X"}:
                    found[int(entry.name)] = int(parent)
    return found


def _below(root: int) -> set[int]:
    """All living descendants of `root`."""
    parents = _parents()
    found = {root}
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found - {root}


class Init:
    """Keeps one agent running."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._agent: int | None = None
        self._stopping = False
        self._started_at = 0.0
        self._start_at = 0.0
        self._backoff = _FIRST_BACKOFF_SECONDS

    def run(self) -> None:
        """Until it was told to stop and the agent has ended."""
        while not (self._stopping and self._agent is None):
            if self._agent is None and time.monotonic() >= self._start_at:
                self._start()
            wait = max(self._start_at - time.monotonic(), 0.01) if self._agent is None else 3600.0
            received = signal.sigtimedwait(_SIGNALS, wait)
            if received and received.si_signo == signal.SIGTERM and not self._stopping:
                self._stop()
            self._reap()
        while left := _below(os.getpid()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
            self._reap()

    def _start(self) -> None:
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            try:
                os.execv(self._command[0], self._command)  # noqa: S606 # the agent itself, not a shell
            finally:
                os._exit(127)
        self._agent = child
        self._started_at = time.monotonic()

    def _stop(self) -> None:
        self._stopping = True
        if self._agent is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._agent, signal.SIGTERM)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._agent:
                    self._agent_ended(os.waitstatus_to_exitcode(status))

    def _agent_ended(self, status: int) -> None:
        self._agent = None
        if self._stopping:
            return
        if time.monotonic() - self._started_at > _STEADY_AFTER_SECONDS:
            self._backoff = _FIRST_BACKOFF_SECONDS
        self._start_at = time.monotonic() + self._backoff
        sys.stderr.write(f"the agent ended with {status}; starting it again in {self._backoff:g} s\n")
        sys.stderr.flush()
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF_SECONDS)


def main() -> None:
    """Become the machine's process one."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    Init(sys.argv[1:]).run()


if __name__ == "__main__":
    main()
