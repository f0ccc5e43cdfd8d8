"""All machines of this host: the calls of the provider, and the loop that makes them so."""

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import msgspec
import psutil

from worker.localhost.events import EventLog
from worker.localhost.machine import Machine, MachineView, Place

_TAG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_BUSY_TICK_SECONDS = 0.05
_CALM_TICK_SECONDS = 0.25
_REAP_SECONDS = 2.0


class CloudError(Exception):
    """A call that is refused: an HTTP status, a stable code, one sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class Cloud:
    """Calls may come from any thread; `run` drives the machines.

    The lock guards the list of machines, not their work: while one is cleaned up (thousands of files, a scan of
    all processes) the others are described and made without waiting.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._log = EventLog(place.home / "localhost" / "log.jsonl")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._reap_at = 0.0
        self._faults: list[str] = []
        self._problem = ""
        self._machines: dict[str, Machine] = {}
        for event in self._log.replay():
            if event.event == "requested":
                self._machines[event.tag] = self._machine(event.tag, event.shape or "")
            self._machines[event.tag].apply(event)

    def _machine(self, tag: str, shape: str) -> Machine:
        return Machine(tag, shape, self._place, self._log, self._orphans)

    def _orphans(self) -> set[int]:
        """Children of this daemon that are no machine's process one: left by one that was killed."""
        own = {machine.init_pid for machine in list(self._machines.values())}
        return {child.pid for child in psutil.Process().children() if child.pid not in own}

    # --- the provider's calls ---

    def create(self, tag: str, shape: str, environment: Mapping[str, str]) -> MachineView:
        """The machine with this tag, made if it never was. Raises CloudError."""
        if not _TAG.fullmatch(tag):
            raise CloudError(400, "bad-tag", "a tag has 1 to 63 of a-z, 0-9 and -, and does not start with -")
        with self._lock:
            machine = self._machines.get(tag)
            if machine is None:
                self._refuse_if_due()
                self._write_environment(tag, environment)
                self._log.append("requested", tag, shape=shape)
                machine = self._machines[tag] = self._machine(tag, shape)
            view = machine.view
        self._wake.set()
        return view

    def _refuse_if_due(self) -> None:
        if self._closing:
            raise CloudError(503, "shutting-down", "this host is shutting down")
        if self._faults:
            raise CloudError(503, "insufficient-capacity", self._faults.pop(0))

    def _write_environment(self, tag: str, environment: Mapping[str, str]) -> None:
        path = self._place.environment_file(tag)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(dict(environment)))

    def list(self) -> list[MachineView]:
        """All machines that are not terminated."""
        with self._lock:
            return [machine.view for machine in self._machines.values() if machine.state != "terminated"]

    def describe(self, tag: str) -> MachineView:
        """One machine, also a terminated one. Raises CloudError 404."""
        with self._lock:
            return self._found(tag).view

    def terminate(self, tag: str) -> MachineView:
        """Begin to end a machine; again = no change. Raises CloudError 404."""
        with self._lock:
            machine = self._found(tag)
        machine.stop()
        self._wake.set()
        return machine.view

    def fail_next_create(self, reason: str) -> None:
        """The next create of a new machine is refused with this reason."""
        with self._lock:
            self._faults.append(reason)

    def _found(self, tag: str) -> Machine:
        machine = self._machines.get(tag)
        if machine is None:
            raise CloudError(404, "unknown-machine", f"no machine was ever asked for with the tag {tag!r}")
        return machine

    # --- the loop ---

    def run(self) -> None:
        """Drive all machines until `close` was called and each is terminated."""
        while True:
            # Cleared before the look: a call in between makes the next wait return at once.
            self._wake.clear()
            with self._lock:
                closing = self._closing
                open_machines = [m for m in self._machines.values() if m.state != "terminated"]
            for machine in open_machines:
                self._advance(machine, closing=closing)
            self._reap_orphans(open_machines)
            if closing and all(m.state == "terminated" for m in open_machines):
                self._log.close()
                return
            calm = all(machine.state == "running" for machine in open_machines)
            self._wake.wait(_CALM_TICK_SECONDS if calm else _BUSY_TICK_SECONDS)

    def _advance(self, machine: Machine, *, closing: bool) -> None:
        """One step of one machine; one that finds no room on the disk is tried again, and the others go on."""
        try:
            if closing:
                machine.stop()
            machine.advance()
        except OSError as error:
            if str(error) != self._problem:
                sys.stderr.write(f"machine {machine.tag} cannot go on: {error}\n")
            self._problem = str(error)

    def close(self) -> None:
        """Terminate every machine; `run` returns when all are gone."""
        with self._lock:
            self._closing = True
        self._wake.set()

    def _reap_orphans(self, machines: Sequence[Machine]) -> None:
        """The daemon is a subreaper: what outlived its parent on a machine is waited for here."""
        if time.monotonic() < self._reap_at:
            return
        self._reap_at = time.monotonic() + _REAP_SECONDS
        own = {machine.init_pid for machine in machines}
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                if child.pid not in own and child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)
