"""One machine: its states, its process one (`machine_init.py`, which keeps the agent), its end.

A lock of its own lets `stop` come from any thread; all else is the loop's. The view is read without it.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from worker.localhost.belongings import (
    MARK_VARIABLE,
    Belongings,
    Identity,
    identity_of,
    lives,
    make_cgroup,
    mark_of,
)
from worker.localhost.events import Event, EventLog

State = Literal["pending", "running", "shutting-down", "terminated"]
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_STEADY_AFTER_SECONDS = 60.0
_LOOK_SECONDS = 2.0
_RUNTIME_VARIABLE = "MODELYARD_AGENT_RUNTIME"
_ROOT = Path(__file__).parents[2]
_INIT = Path(__file__).with_name("machine_init.py")
# What an agent may inherit from the daemon's environment: nothing that is a credential.
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
)
_INHERITED_PREFIXES = ("CUDA_", "NVIDIA_", "XDG_", "MODELYARD_UNSAFE_", "MODELYARD_SANDBOX__")


class MachineView(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as others see it. Times are Unix nanoseconds."""

    tag: str
    shape: str
    state: State
    launched_at_ns: int | None
    terminated_at_ns: int | None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What all machines of a host share."""

    home: Path
    runtime: Path
    """A short folder that other users may pass through, for sockets."""
    agent_command: Sequence[str]
    grace_seconds: float

    def folder(self, tag: str) -> Path:
        """The machine's disk."""
        return self.home / "instances" / tag

    def sockets(self, tag: str) -> Path:
        """Where the machine's agent makes folders of sockets: they outlive a killed agent, and not the machine."""
        return self.runtime / f"m-{hashlib.sha256(mark_of(self.home, tag).encode()).hexdigest()[:8]}"

    def environment_file(self, tag: str) -> Path:
        """The environment it was created with (0600: it holds the instance's token)."""
        return self.home / "localhost" / "machines" / f"{tag}.json"


class Machine:
    """One machine, driven by `advance` and rebuilt by `apply`-ing its events."""

    def __init__(self, tag: str, shape: str, place: Place, log: EventLog, orphans: Callable[[], set[int]]) -> None:
        self.tag = tag
        self.shape = shape
        self.state: State = "pending"
        self.launched_at_ns: int | None = None
        self.terminated_at_ns: int | None = None
        self._lock = threading.Lock()
        self._place = place
        self._log = log
        self._orphans = orphans
        self._init: Identity | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._belongings: Belongings | None = None
        self._sessions: set[int] = set()
        self._kill_at: float | None = None
        self._start_at = 0.0
        self._started_at = 0.0
        self._backoff = _FIRST_BACKOFF_SECONDS
        self._look_at = 0.0

    @property
    def view(self) -> MachineView:
        """What others see."""
        return MachineView(
            tag=self.tag,
            shape=self.shape,
            state=self.state,
            launched_at_ns=self.launched_at_ns,
            terminated_at_ns=self.terminated_at_ns,
        )

    @property
    def init_pid(self) -> int | None:
        """Id of its process one, if that lives and is a child of this daemon (a killed daemon's is not)."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def apply(self, event: Event) -> None:
        """Take up one event of the log: the only place where the state changes."""
        match event.event:
            case "running":
                self.launched_at_ns = event.wall_ns
                self.state = "running"
            case "booted" if event.pid is not None and event.start_ticks is not None:
                self._init = Identity(pid=event.pid, start_ticks=event.start_ticks)
                self._sessions.add(event.pid)
            case "crashed":
                self._init = None
            case "stopping":
                self.state = "shutting-down"
            case "terminated":
                self.terminated_at_ns = event.wall_ns
                self.state = "terminated"

    def stop(self) -> None:
        """Begin to shut down; nothing to do when it already does."""
        if self.state not in {"pending", "running"}:
            return
        with self._lock:
            if self.state in {"pending", "running"}:
                self.apply(self._log.append("stopping", self.tag))

    def advance(self) -> None:
        """One step of whatever is due."""
        with self._lock:
            if self.state == "pending":
                self._place.folder(self.tag).mkdir(mode=0o700, parents=True, exist_ok=True)
                self.apply(self._log.append("running", self.tag))
            if self.state == "running":
                self._keep_up()
            elif self.state == "shutting-down":
                self._shut_down()

    # --- the machine's process one ---

    def _keep_up(self) -> None:
        now = time.monotonic()
        if self._init_lives():
            if now >= self._look_at:
                self._own().track()
                self._look_at = now + _LOOK_SECONDS
        elif self._init is not None:
            self._note_death()
            if now - self._started_at > _STEADY_AFTER_SECONDS:
                self._backoff = _FIRST_BACKOFF_SECONDS
            self._start_at = now + self._backoff
            self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF_SECONDS)
        elif now >= self._start_at and not self._adopt():
            # A machine boots empty: what a killed process one left is ended first.
            left = self._own().look()
            self._kill(left)
            if not left:
                self._boot()

    def _init_lives(self) -> bool:
        if self._process is not None:
            self._process.poll()
        return self._init is not None and lives(self._init)

    def _note_death(self) -> None:
        self._process = None
        self.apply(self._log.append("crashed", self.tag))

    def _adopt(self) -> bool:
        """After a daemon killed between booting a machine and writing it down: find that process one."""
        for identity in self._own().look():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(identity.pid) == identity.pid and self._is_init(identity.pid):
                    self._record(identity)
                    return True
        return False

    def _is_init(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return os.fsencode(_INIT) in words
        return False

    def _boot(self) -> None:
        init = [sys.executable, "-I", "-S", str(_INIT)]
        command = [*init, *self._place.agent_command, "--folder", str(self._place.folder(self.tag))]
        cgroup = self._own().cgroup
        if cgroup:
            # In its cgroup before its first instruction, so that nothing it starts is outside.
            join = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(cgroup / "cgroup.procs")]
            command = [*join, *command]
        sockets = self._place.sockets(self.tag)
        sockets.mkdir(mode=0o711, exist_ok=True)
        sockets.chmod(0o711)  # whatever the umask says: replicas and gateways are other users
        log = self._place.home / "logs" / f"instance-{self.tag}.log"
        log.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=self._environment(),
                cwd=self._place.folder(self.tag),
                start_new_session=True,
                umask=0o077,
            )
        finally:
            os.close(descriptor)
        self._started_at = time.monotonic()
        identity = identity_of(self._process.pid)
        # Ended already: written down all the same, to be found dead by the next step.
        self._record(identity or Identity(pid=self._process.pid, start_ticks=0))

    def _record(self, identity: Identity) -> None:
        event = self._log.append("booted", self.tag, pid=identity.pid, start_ticks=identity.start_ticks)
        self.apply(event)
        self._own().sessions = self._sessions
        self._own().known.add(identity)

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        given: dict[str, str] = msgspec.json.decode(
            self._place.environment_file(self.tag).read_bytes(), type=dict[str, str]
        )
        search = [str(_ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
        own = {
            _RUNTIME_VARIABLE: str(self._place.sockets(self.tag)),
            MARK_VARIABLE: mark_of(self._place.home, self.tag),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(search),
        }
        return inherited | given | own

    def _own(self) -> Belongings:
        if self._belongings is None:
            cgroup = make_cgroup(self._place.home, self.tag)
            self._belongings = Belongings(mark_of(self._place.home, self.tag), cgroup, self._sessions, self._orphans)
        return self._belongings

    # --- the end ---

    def _shut_down(self) -> None:
        alive = self._init_lives()
        if self._kill_at is None:
            self._own().look()
            self._kill_at = time.monotonic() + self._place.grace_seconds
            if alive and self._init:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._init.pid, signal.SIGTERM)
        if alive and time.monotonic() < self._kill_at:
            return
        # Its time is over, or it ended by itself: what is left has nobody to answer to. Process one
        # goes last, for whatever it still holds would be an orphan without it.
        left = self._own().look()
        if not left:
            self._clean_up()
        self._kill({identity for identity in left if identity != self._init} or left)

    @staticmethod
    def _kill(identities: set[Identity]) -> None:
        for identity in identities:
            if lives(identity):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(identity.pid, signal.SIGKILL)

    def _clean_up(self) -> None:
        self._own().drop_cgroup()
        shutil.rmtree(self._place.folder(self.tag), ignore_errors=True)
        shutil.rmtree(self._place.sockets(self.tag), ignore_errors=True)
        self._place.environment_file(self.tag).unlink(missing_ok=True)
        self.apply(self._log.append("terminated", self.tag))
