"""One supervised process: what it should be, and what it is at the moment.

Life of a child: pending (its `after` are not all ready) → starting → ready → [died → backing off → starting …]
→ stopping → ended. A one-shot is ready when it ended with status 0. One that is `early` is started at once and
loads meanwhile (`gate.py`): loading → starting, when its `after` are ready.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from backend.platform.gate import VARIABLE, Gate
from backend.platform.processes import in_session, kill_until_gone
from backend.platform.serverprocess import launch_command

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_STEADY_AFTER_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to run.

    `command`: program with an absolute path, and arguments. `launched`: it already goes through the launcher.
    `after`: names that must be ready before it starts, and that are stopped only when it has ended.
    `ready`: None = ready once started. `prepare` runs before each start.
    `death_signal`: what it gets when the supervisor is killed. `hidden`: words that mark log lines which look like
    warnings but are not worth the console.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    after: Sequence[str] = ()
    one_shot: bool = False
    early: bool = False
    ready: Callable[[], bool] | None = None
    ready_timeout_seconds: float = 60.0
    prepare: Callable[[], None] | None = None
    launched: bool = False
    stop_signal: int = signal.SIGTERM
    stop_grace_seconds: float = 10.0
    death_signal: int = signal.SIGKILL
    hidden: Sequence[str] = ()


class ChildState(StrEnum):
    """Where a child is in its life."""

    PENDING = "pending"
    LOADING = "loading"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    ENDED = "ended"


class Child:
    """A spec with its process."""

    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.state = ChildState.PENDING
        self.restarts = 0
        self.started_at = 0.0
        self.due_at = 0.0
        self.was_ready = False
        self._backoff = _FIRST_BACKOFF_SECONDS
        self._process: subprocess.Popen[bytes] | None = None
        self._gate: Gate | None = None

    @property
    def name(self) -> str:
        """Its name, also of its log file."""
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def load(self) -> None:
        """Start the process of an early child; it begins when told to."""
        self._gate = Gate()
        try:
            self._launch(self._gate.child_end)
        finally:
            self._gate.close_child_end()
        self.state = ChildState.LOADING

    def start(self) -> None:
        """Start the process in a session of its own, output appended to its log; one that is loading begins."""
        if self.state is not ChildState.LOADING and self.spec.early:
            self.load()
        if self._gate is not None:
            self._gate.open()
            self._gate = None
        else:
            self._launch()
        self.started_at = time.monotonic()
        self.state = ChildState.STARTING

    def _launch(self, gate: int | None = None) -> None:
        if self.spec.prepare:
            self.spec.prepare()
        command = list(self.spec.command)
        if not self.spec.launched:
            command = launch_command(command, death_signal=self.spec.death_signal)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(self.spec.environment) | ({} if gate is None else {VARIABLE: str(gate)}),
                pass_fds=() if gate is None else (gate,),
                start_new_session=True,
                umask=0o077,
            )
        finally:
            os.close(descriptor)

    def ended_with(self) -> int | None:
        """Exit status if the process has ended (negative: by that signal), else None."""
        return self._process.poll() if self._process else None

    def check_ready(self) -> bool:
        """Ask the spec, and remember a yes."""
        ready = self.ended_with() == 0 if self.spec.one_shot else self.spec.ready is None or self.spec.ready()
        if ready:
            self.state = ChildState.ENDED if self.spec.one_shot else ChildState.READY
            self.was_ready = True
        return ready

    def back_off(self) -> float:
        """After a death: seconds until the next start. A steady run before it makes the wait short again."""
        if time.monotonic() - self.started_at > _STEADY_AFTER_SECONDS:
            self._backoff = _FIRST_BACKOFF_SECONDS
        wait = self._backoff
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF_SECONDS)
        self.due_at = time.monotonic() + wait
        self.state = ChildState.BACKING_OFF
        self.restarts += 1
        return wait

    def ask_to_stop(self, *, grace_seconds: float | None = None) -> None:
        """Send the stop signal; `due_at` is when patience ends (default: the spec's)."""
        self.state = ChildState.STOPPING
        grace = self.spec.stop_grace_seconds if grace_seconds is None else grace_seconds
        self.due_at = time.monotonic() + grace
        if self._process and self._process.poll() is None:
            self._process.send_signal(self.spec.stop_signal)

    def kill(self) -> None:
        """SIGKILL the process and whatever is left of its session."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.clear_session()

    def clear_session(self) -> None:
        """After its end: kill what it left behind in its session (a port held by a straggler, say)."""
        if self._gate is not None:
            self._gate.discard()
            self._gate = None
        if self._process is not None:
            session = self._process.pid
            kill_until_gone(lambda: in_session(session))


def describe_end(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
