"""The folder of one assignment in one epoch, and what must be known of it after a restart."""

import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec

from worker.agent.control import AssignmentKey

_LOG = logging.getLogger(__name__)
Phase = Literal["preparing", "running", "ended"]


def boot_seconds() -> float:
    """Seconds on a clock that survives a restart of the agent and counts suspended time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Identity of this boot of the machine: `boot_seconds` of two boots cannot be compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class AssignmentState(msgspec.Struct, kw_only=True):
    """`state.json`. `elapsed_seconds` is as of the last heartbeat, or final once ended."""

    id: str
    epoch: int
    kind: Literal["attempt", "replica"]
    phase: Phase = "preparing"
    boot_id: str | None = None
    started_boot_seconds: float | None = None
    elapsed_seconds: float = 0.0
    cgroups: list[str] = []
    runtime_folder: str | None = None


class AssignmentFolder:
    """Paths and persistent state of one assignment. `elapsed_seconds` is what reports carry."""

    def __init__(self, path: Path, state: AssignmentState) -> None:
        self.path = path
        self.state = state
        self._lock = threading.RLock()
        self._forgetful = False
        self._final_seconds: float | None = None

    @classmethod
    def create(cls, root: Path, key: AssignmentKey, kind: Literal["attempt", "replica"]) -> "AssignmentFolder":
        """Make the folder. Raises FileExistsError for an (assignment, epoch) that was here before.

        Raises OSError where there is no room for it, and leaves nothing.
        """
        path = root / f"{key.id}-{key.epoch}"
        path.mkdir(mode=0o700)
        folder = cls(path, AssignmentState(id=key.id, epoch=key.epoch, kind=kind))
        try:
            folder.save()
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return folder

    @classmethod
    def load(cls, path: Path) -> "AssignmentFolder | None":
        """The folder as an earlier agent left it; None when it is not whole (nothing was started in it)."""
        try:
            state = msgspec.json.decode((path / "state.json").read_bytes(), type=AssignmentState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return cls(path, state)

    @property
    def key(self) -> AssignmentKey:
        """Which assignment, in which epoch."""
        return AssignmentKey(id=self.state.id, epoch=self.state.epoch)

    @property
    def job(self) -> Path:
        """What the process sees as `/job`."""
        return self.path / "job"

    @property
    def work(self) -> Path:
        """The writable part of it."""
        return self.job / "work"

    def elapsed_seconds(self) -> float:
        """Seconds since the process started: 0 before, final after the end."""
        state = self.state
        if self._final_seconds is not None:
            return self._final_seconds
        if state.phase == "running" and state.started_boot_seconds is not None:
            return round(boot_seconds() - state.started_boot_seconds, 6)
        return state.elapsed_seconds

    def mark_started(self) -> None:
        """The process is there: its seconds count from now."""
        with self._lock:
            self.state.phase = "running"
            self.state.boot_id = boot_id()
            self.state.started_boot_seconds = boot_seconds()
            self._remember()

    def mark_heartbeat(self) -> float:
        """Remember the seconds; returns them."""
        with self._lock:
            self.state.elapsed_seconds = self.elapsed_seconds()
            if self.state.phase == "running":
                self._remember()
            return self.state.elapsed_seconds

    def stop_counting(self) -> None:
        """The process is gone: heartbeats tell no more seconds than the last report, however long it is written."""
        with self._lock:
            self._final_seconds = self.elapsed_seconds()

    def mark_ended(self) -> None:
        """The last report is in the spool."""
        with self._lock:
            self.state.elapsed_seconds = self.elapsed_seconds()
            self.state.phase = "ended"
            self._remember()

    def _remember(self) -> None:
        """Save, if there is room: what runs goes on without, and only an agent killed meanwhile knows less."""
        try:
            self.save()
        except OSError as error:
            if not self._forgetful:
                _LOG.error("the state of assignment %s cannot be saved: %s", self.state.id, error)
            self._forgetful = True
        else:
            self._forgetful = False

    def save(self) -> None:
        """Write `state.json`, whole or not at all."""
        with self._lock:
            beside = self.path / "state.json.partial"
            beside.write_bytes(msgspec.json.encode(self.state))
            beside.replace(self.path / "state.json")

    def shrink(self) -> None:
        """Delete all but the mark that this (assignment, epoch) was here."""
        for name in ("job", "spool"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def remove(self) -> None:
        """Delete everything of this assignment."""
        for folder in (self.path, Path(self.state.runtime_folder) if self.state.runtime_folder else None):
            if folder is not None and folder.exists():
                shutil.rmtree(folder, ignore_errors=True)


def make_private(path: Path) -> Path:
    """Make a folder only we may enter, or check that the one there is ours. Raises PermissionError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    path.chmod(0o700)
    return path
