"""Sealed usage segments of a replica, delivered to the control plane: every one, until it is taken.

A segment is `usage/sealed-<uuid>.jsonl` in the replica's folder (`worker.serving.usage`). It is deleted only after
the control plane has it; delivering it twice changes nothing. One that the control plane refuses as malformed is kept
aside in `DIR/refused-usage/` for a person, up to `REFUSED_BYTES` in all, and logged. What a dead replica left open is
sealed here. The folder is the replica's: nothing in it is written through, and no link in it is followed.
"""

import errno
import logging
import os
import re
import stat
import threading
from pathlib import Path

from worker.agent.control import AssignmentKey, ControlError, ControlPlane, StaleEpoch, Unauthorized, Unreachable
from worker.agent.control import Refused as RefusedByControl

SEGMENT_BYTES = 64 << 20
REFUSED_BYTES = 64 << 20
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SEALED = re.compile(rf"sealed-({_UUID})\.jsonl")
_OPEN = re.compile(rf"open-({_UUID})\.jsonl")
_LOG = logging.getLogger(__name__)


class SegmentShipper:
    """Delivers the segments of one replica. Safe to use from several threads."""

    def __init__(self, control: ControlPlane, key: AssignmentKey, folder: Path, refused: Path) -> None:
        self._control = control
        self._key = key
        self._folder = folder
        self._refused = refused
        self._lock = threading.Lock()

    def pending(self) -> list[Path]:
        """Sealed segments still here, oldest first."""
        return [path for path in _regular_files(self._folder) if _SEALED.fullmatch(path.name)]

    def ship(self) -> None:
        """Deliver what is sealed. Raises Unreachable and Unauthorized; the rest is tried again later."""
        with self._lock:
            for path in self.pending():
                self._ship_one(path)

    def _ship_one(self, path: Path) -> None:
        match = _SEALED.fullmatch(path.name)
        if match is None:
            return
        content = _read(path)
        if content is None:
            _LOG.error("usage segment %s of assignment %s is unreadable or too large: dropped", path.name, self._key.id)
            path.unlink(missing_ok=True)
            return
        try:
            self._control.write_usage(self._key, match.group(1), content)
        except (Unreachable, Unauthorized):
            raise
        except (RefusedByControl, StaleEpoch) as error:
            kept = self._keep_refused(path.name, content)
            where = f"is kept in {self._refused}" if kept else "is dropped: too much was refused already"
            _LOG.error("usage segment %s was refused and %s: %s", path.name, where, error)
        path.unlink(missing_ok=True)

    def _keep_refused(self, name: str, content: bytes) -> bool:
        """Put a segment aside; False if there is no room (a hostile replica could fill the disk with them)."""
        self._refused.mkdir(mode=0o700, exist_ok=True)
        if sum(each.stat().st_size for each in self._refused.iterdir()) + len(content) > REFUSED_BYTES:
            return False
        (self._refused / name).write_bytes(content)
        return True

    def seal_left_open(self) -> None:
        """After the replica is gone: seal what it left open, without a torn last line."""
        with self._lock:
            for path in _regular_files(self._folder):
                match = _OPEN.fullmatch(path.name)
                if match is None:
                    continue
                try:
                    self._seal(match.group(1), _read(path) or b"")
                except OSError as error:
                    if error.errno in NO_ROOM:
                        _LOG.warning("usage segment %s waits to be sealed: %s", path.name, error)
                        continue
                    # Something else lies in its way, which only a hostile replica puts there.
                    _LOG.error("usage segment %s cannot be sealed: %s", path.name, error)
                path.unlink(missing_ok=True)

    def _seal(self, segment_id: str, content: bytes) -> None:
        whole = content[: content.rfind(b"\n") + 1]
        if whole.count(b"\n") > 1:
            beside = self._folder / f".sealing-{segment_id}"
            _write_new(beside, whole)
            beside.rename(self._folder / f"sealed-{segment_id}.jsonl")

    def settle(self) -> bool:
        """Deliver the rest of an ended replica; True when nothing is left."""
        self.seal_left_open()
        self.ship_quietly()
        return not self.left()

    def left(self) -> list[Path]:
        """What an ended replica still has here: sealed, or waiting for the room to be."""
        found = _regular_files(self._folder)
        return [path for path in found if _SEALED.fullmatch(path.name) or _OPEN.fullmatch(path.name)]

    def ship_quietly(self) -> None:
        """Deliver what is sealed, or leave it for the next time."""
        try:
            self.ship()
        except ControlError as error:
            _LOG.debug("usage of assignment %s waits: %s", self._key.id, error)


def _regular_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.stat(follow_symlinks=False).st_mtime_ns, entry.path)
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
    return [Path(path) for _, path in sorted(found)]


def _write_new(path: Path, content: bytes) -> None:
    """A new file in a folder that belongs to somebody else: whatever stood there, a link say, goes first."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read(path: Path) -> bytes | None:
    """The content of a regular file, no link followed; None if it is not one, or too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > SEGMENT_BYTES:
            return None
        return file.read()
