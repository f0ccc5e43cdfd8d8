"""One embedded server as a process: its user, its launch command, start, wait and stop.

Start servers from a thread that lasts (the main one): the kernel sends the death signal when the *thread* that
started a process ends.
"""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.platform.errors import ServerNotStarted

_LAUNCHER = Path(__file__).with_name("launcher.py")
_POLL_SECONDS = 0.02
_KILL_AFTER_SECONDS = 20.0
_TAIL_LINES = 15
# Between systemd's ranges (60706 to 61183 is unassigned), and below 65536 for containers that map no more.
_FIRST_SERVER_UID = 60800


@dataclass(frozen=True, kw_only=True)
class ServerUser:
    """Whom a server runs as."""

    uid: int
    gid: int

    @property
    def changes(self) -> bool:
        """True when the starter is root, so that the server must become somebody else."""
        return self.uid != os.geteuid()


def server_user(offset: int) -> ServerUser:
    """The starting user; started as root, the unprivileged user id number `offset` of ours.

    The id needs no entry in the user database; one that has an entry is somebody's and refused.
    """
    if os.geteuid() != 0:
        return ServerUser(uid=os.geteuid(), gid=os.getegid())
    uid = _FIRST_SERVER_UID + offset
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        return ServerUser(uid=uid, gid=uid)
    raise ServerNotStarted(
        f"user id {uid}, which the embedded server would use, belongs to {owner}; start as an ordinary user"
    )


@dataclass(frozen=True, kw_only=True)
class Bind:
    """One file or folder shown to a server that runs as another user."""

    source: Path
    name: str
    read_only: bool = True


def launch_command(
    command: Sequence[str],
    *,
    death_signal: int,
    user: ServerUser | None = None,
    mount_point: Path | None = None,
    binds: Sequence[Bind] = (),
    parent: int | None = None,
) -> list[str]:
    """`command` behind the launcher; `parent` defaults to this process, which must be the starter."""
    spec: dict[str, object] = {"parent": parent or os.getpid(), "death_signal": int(death_signal)}
    if user is not None and user.changes:
        spec |= {
            "uid": user.uid,
            "gid": user.gid,
            "mount_point": str(mount_point),
            "binds": [[str(bind.source), bind.name, bind.read_only] for bind in binds],
            "passwd": f"root:x:0:0::/:/bin/false\nmodelyard:x:{user.uid}:{user.gid}::/:/bin/false\n",
        }
    return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(spec), *command]


def log_tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last `lines` lines of a log, or a word that there are none."""
    try:
        text = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        text = []
    return "\n".join(text[-lines:]) or "(its log is empty)"


class ServerProcess:
    """A running server: started with its output in `log`, ended by `stop`."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                cwd="/",
                start_new_session=True,
                umask=0o077,
            )
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def join(self, timeout_seconds: float) -> None:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        self._process.wait(timeout_seconds)

    def wait_ready(self, ready: Callable[[], bool], timeout_seconds: float = 30.0) -> None:
        """Return once `ready()`; raises ServerNotStarted with the log's tail when it exits or is late."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if not self.alive:
                raise ServerNotStarted(
                    f"{self.name} ended with status {self._process.returncode}:\n{log_tail(self.log)}"
                )
            if time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise ServerNotStarted(f"{self.name} was not ready after {timeout_seconds:g} s:\n{log_tail(self.log)}")
            time.sleep(_POLL_SECONDS)

    def stop(self, with_signal: int) -> None:
        """End it: `with_signal`, then SIGKILL to its whole process group after a grace."""
        if self.alive:
            self._process.send_signal(with_signal)
            try:
                self._process.wait(_KILL_AFTER_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
