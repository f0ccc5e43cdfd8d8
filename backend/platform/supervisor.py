"""Runs children (`ChildSpec`) until it is told to stop, and leaves no process behind.

Life: start each child as soon as those it comes `after` are ready (an early one loads before) → all ready,
`on_ready` → restart with backoff what dies, one line each → SIGTERM, SIGINT or SIGHUP: stop in the opposite order, each
with its grace, then SIGKILL (a second signal skips the graces) → kill stragglers → end. A child that dies before it
was ever ready, or a one-shot that fails, is a mistake to fix, not to retry: everything stops, with its log's tail.

One thread, no handlers: signals are blocked and taken by `sigtimedwait`. It is a subreaper, so a process that
outlived its parent is found among its own. What happens when the supervisor itself is killed is
`warden.py`'s business.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.platform.childlogs import LogFollower
from backend.platform.children import Child, ChildSpec, ChildState, describe_end
from backend.platform.errors import ChildNotReady, PlatformError
from backend.platform.home import ChildReport, RunState, write_run_state
from backend.platform.processes import become_subreaper, descendants, kill_until_gone, reap_orphans
from backend.platform.serverprocess import log_tail

_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_BUSY_TICK_SECONDS = 0.03
_CALM_TICK_SECONDS = 0.25
_HURRY_SECONDS = 0.5

OnReady = Callable[[RunState], int | None]
"""Called once, in a thread, when all children are ready. An int ends everything with that exit status."""


def _dependents(specs: Sequence[ChildSpec]) -> dict[str, set[str]]:
    """Name → all that come after it, directly or not. `specs` lists each after those it names."""
    found: dict[str, set[str]] = {spec.name: set() for spec in specs}
    for spec in reversed(specs):
        for name in spec.after:
            found[name] |= {spec.name} | found[spec.name]
    return found


class Supervisor:
    """Owns the children of one home. `run` in the main thread; `state` is published in `run.json`."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        state: RunState,
        *,
        say: Callable[[str], None],
        on_ready: OnReady | None = None,
    ) -> None:
        logs = Path(state.home) / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        self._children = {spec.name: Child(spec, logs / f"{spec.name}.log") for spec in specs}
        self._dependents = _dependents(specs)
        self._followers = {
            name: LogFollower(name, child.log, say, child.spec.hidden) for name, child in self._children.items()
        }
        self._state = state
        self._say = say
        self._on_ready = on_ready
        self._announced = False
        self._stopping = False
        self._hurry = False
        self._child_ended = False
        self._failure: PlatformError | None = None
        self._status = 0
        self._published: object = None

    def run(self) -> int:
        """Until stopped. Returns the exit status; raises ChildNotReady (after an orderly stop) on a bad start."""
        become_subreaper()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS | {signal.SIGCHLD})
        try:
            # Before a server's first start, which takes a second: Python loads meanwhile on another core.
            for child in self._children.values():
                if child.spec.early:
                    child.load()
            while not self._ended():
                self._turn()
                self._publish()
                self._wait()
        finally:
            self._kill_everything()
        if self._failure:
            raise self._failure
        return self._status

    def stop(self, status: int = 0) -> None:
        """Begin an orderly stop; the first status given wins."""
        if not self._stopping:
            self._stopping = True
            self._status = status

    # --- one turn ---

    def _turn(self) -> None:
        for child in self._children.values():
            try:
                self._advance(child)
            except PlatformError as error:
                self._fail(error)
        for name, follower in self._followers.items():
            # What a server says while it starts is not news; if it fails, the error brings the log's end.
            follower.look(quiet=self._children[name].state is ChildState.STARTING)
        if self._child_ended:
            self._child_ended = False
            reap_orphans(keep={pid for c in self._children.values() if (pid := c.pid)})
        if not self._stopping and not self._announced and all(c.was_ready for c in self._children.values()):
            self._announce()

    def _advance(self, child: Child) -> None:
        if child.state in {ChildState.LOADING, ChildState.STARTING, ChildState.READY}:
            self._look_after(child)
        if self._stopping:
            self._advance_stop(child)
        elif child.state in {ChildState.PENDING, ChildState.LOADING}:
            if all(self._children[name].was_ready for name in child.spec.after):
                child.start()
        elif child.state is ChildState.BACKING_OFF and time.monotonic() >= child.due_at:
            child.start()

    def _look_after(self, child: Child) -> None:
        status = child.ended_with()
        if child.state is ChildState.STARTING and (status is None or child.spec.one_shot) and child.check_ready():
            return
        if status is not None:
            self._after_death(child, status)
        elif child.state is ChildState.STARTING and self._late(child):
            seconds = child.spec.ready_timeout_seconds
            if child.was_ready:
                self._say(f"{child.name} is not ready {seconds:g} s after its restart; killing it")
                child.kill()
            else:
                self._fail(self._not_ready(child, f"was not ready after {seconds:g} s"))

    def _late(self, child: Child) -> bool:
        return time.monotonic() - child.started_at > child.spec.ready_timeout_seconds

    def _after_death(self, child: Child, status: int) -> None:
        child.clear_session()
        if self._stopping:
            child.state = ChildState.ENDED
        elif not child.was_ready:
            child.state = ChildState.ENDED
            self._fail(self._not_ready(child, describe_end(status)))
        else:
            wait = child.back_off()
            self._say(f"{child.name} {describe_end(status)}; starting it again in {wait:g} s (log: {child.log})")

    def _advance_stop(self, child: Child) -> None:
        if child.state in {ChildState.PENDING, ChildState.BACKING_OFF}:
            child.state = ChildState.ENDED
        elif child.state in {ChildState.LOADING, ChildState.STARTING, ChildState.READY}:
            names = self._dependents[child.name]
            if all(self._children[name].state is ChildState.ENDED for name in names):
                child.ask_to_stop(grace_seconds=_HURRY_SECONDS if self._hurry else None)
        elif child.state is ChildState.STOPPING:
            if child.ended_with() is not None:
                child.clear_session()
                child.state = ChildState.ENDED
            elif time.monotonic() > child.due_at:
                self._say(f"{child.name} did not stop in {child.spec.stop_grace_seconds:g} s; killing it")
                child.kill()

    def _not_ready(self, child: Child, what: str) -> ChildNotReady:
        return ChildNotReady(f"{child.name} {what}; the end of {child.log}:\n{log_tail(child.log)}")

    def _fail(self, error: PlatformError) -> None:
        if self._failure is None:
            self._failure = error
        self.stop(1)

    # --- around the turns ---

    def _wait(self) -> None:
        calm = self._announced and not self._stopping
        seconds = _CALM_TICK_SECONDS if calm else _BUSY_TICK_SECONDS
        received = signal.sigtimedwait(_STOP_SIGNALS | {signal.SIGCHLD}, seconds)
        if received is None:
            return
        if received.si_signo == signal.SIGCHLD:
            self._child_ended = True
            return
        if self._stopping:
            self._say("stopping at once")
            self._hurry = True
            for child in self._children.values():
                child.due_at = min(child.due_at, time.monotonic() + _HURRY_SECONDS)
        else:
            self._say("stopping (once more to kill)")
            self.stop()

    def _announce(self) -> None:
        self._announced = True
        self._state.ready = True
        self._publish()
        if self._on_ready:
            threading.Thread(target=self._call_on_ready, args=(self._on_ready,), daemon=True).start()

    def _call_on_ready(self, on_ready: OnReady) -> None:
        try:
            status = on_ready(self._state)
        except BaseException:
            self.stop(1)
            raise
        if status is not None:
            self.stop(status)

    def _publish(self) -> None:
        reports = {
            name: ChildReport(state=str(child.state), pid=child.pid, restarts=child.restarts)
            for name, child in self._children.items()
        }
        snapshot = (self._state.ready, reports)
        if snapshot != self._published:
            self._published = snapshot
            self._state.children = reports
            write_run_state(self._state)

    def _ended(self) -> bool:
        return self._stopping and all(c.state is ChildState.ENDED for c in self._children.values())

    def _kill_everything(self) -> None:
        for child in self._children.values():
            child.kill()
        own = os.getsid(0)
        if not kill_until_gone(lambda: descendants(outside_session=own)):
            self._say("some processes could not be killed; see `ps`")
        reap_orphans()
