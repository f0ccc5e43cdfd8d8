"""What a running `modelyard up` leaves in its home for others to read: a lock, and `run.json`.

The lock is the truth (`flock` ends with its holders, kill -9 included); the file holds pids, ports and addresses.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backend.platform.errors import AlreadyRunning
from backend.platform.folders import make_home, write_private


@dataclass(kw_only=True)
class ChildReport:
    """One child in `run.json`."""

    state: str
    pid: int | None
    restarts: int


@dataclass(kw_only=True)
class RunState:
    """`run.json`. `pid`: whom to send SIGTERM. `addresses`: name → URL or socket path."""

    pid: int
    supervisor_pid: int
    home: str
    ready: bool
    ports: dict[str, int]
    addresses: dict[str, str]
    children: dict[str, ChildReport] = field(default_factory=dict)


def lock_home(home: Path) -> int:
    """Take the home's lock; returns the open descriptor that holds it. Raises AlreadyRunning or UnsafeFolder."""
    make_home(home)
    descriptor = os.open(home / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode().strip() or "unknown"
        os.close(descriptor)
        raise AlreadyRunning(
            f"Modelyard already runs on {home} (process {holder}); stop it with `kill {holder}`,"
            " or start another with its own MODELYARD_HOME and ports"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def is_locked(home: Path) -> bool:
    """True while somebody holds the home's lock."""
    try:
        descriptor = os.open(home / "run.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_run_state(state: RunState) -> None:
    """Replace `run.json` (0600) at once."""
    write_private(Path(state.home) / "run.json", json.dumps(asdict(state), indent=1) + "\n")


def read_run_state(home: Path) -> RunState | None:
    """The state of what runs on `home`, or None when nothing does (a stale file does not count)."""
    if not is_locked(home):
        return None
    try:
        raw = json.loads((home / "run.json").read_text())
    except FileNotFoundError:
        return None
    children = {name: ChildReport(**report) for name, report in raw.pop("children").items()}
    return RunState(**raw, children=children)
