"""Folders that a job wrote, uploaded while it may still be writing, and never further than its work folder.

Files are reached by descriptors from the work folder down, no link followed, regular files only. What changes
between hashing and sending is refused by the control plane (wrong digest). Checkpoints go in the
background, one at a time; when they come faster than they can be sent the newest wins. A result waits for
nobody: with the control plane away it is tried again until the assignment is over.
"""

import contextlib
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from backend.core.wire import CheckpointSaved, CheckpointWritten, FileRef
from worker.agent.control import AssignmentKey, ControlPlane, Refused, StaleEpoch, Unauthorized, Unreachable

FILE_COUNT = 10_000
NAME_BYTES = 1 << 20
"""Of all names of a folder together: they travel in one report."""
DEPTH = 32
"""Of folders in a folder: each level holds a descriptor while it is walked."""
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_LOG = logging.getLogger(__name__)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutputNotUsable(Exception):
    """What the job wrote cannot be stored; the message says why, for the job's owner."""


class UploadAbandoned(Exception):
    """The assignment ended before the upload did."""


class OutputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file of an output folder: its name below it, and an open descriptor."""

    name: str
    descriptor: int


def output_files(work: Path, folder: str, size_limit_bytes: int) -> Iterator[OutputFile]:
    """Every regular file below `work/folder`; each descriptor is closed when the next file is asked for.

    Links, sockets and devices are skipped. Raises OutputNotUsable: folder missing or not below `work`, too many
    or too large files, names that are too long in all, folders nested too deep, a name that is not UTF-8.
    """
    parts = [part for part in folder.split("/") if part not in {"", "."}]
    if ".." in parts or "\x00" in folder:
        raise OutputNotUsable(f"the folder {folder!r} is not below the work folder")
    top = os.open(work, _FOLDER)
    try:
        for part in parts:
            below = os.open(part, _FOLDER, dir_fd=top)
            os.close(top)
            top = below
        sizes = names = 0
        for count, file in enumerate(_walk(top, "")):
            sizes += os.fstat(file.descriptor).st_size
            names += len(file.name.encode())
            if names > NAME_BYTES:
                raise OutputNotUsable(f"the names of the files in {folder!r} have more than {NAME_BYTES} bytes in all")
            if count >= FILE_COUNT or sizes > size_limit_bytes:
                raise OutputNotUsable(
                    f"the folder {folder!r} holds more than {FILE_COUNT} files or {size_limit_bytes} bytes"
                )
            yield file
    except OSError as error:
        raise OutputNotUsable(f"the folder {folder!r} cannot be read: {error.strerror}") from error
    finally:
        os.close(top)


def _walk(folder: int, prefix: str) -> Iterator[OutputFile]:
    if prefix.count("/") > DEPTH:
        raise OutputNotUsable(f"folders are nested more than {DEPTH} deep")
    for name in sorted(os.listdir(folder)):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            continue
        if name != name.encode(errors="replace").decode():
            raise OutputNotUsable(f"the file name {name!r} is not UTF-8")
        descriptor = os.open(name, _FOLDER if stat.S_ISDIR(found.st_mode) else _FILE, dir_fd=folder)
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                yield from _walk(descriptor, f"{prefix}{name}/")
            elif stat.S_ISREG(os.fstat(descriptor).st_mode):
                yield OutputFile(name=prefix + name, descriptor=descriptor)
        finally:
            os.close(descriptor)


class Uploader:
    """Uploads of one assignment. `over` is set when nothing may be waited for any longer."""

    def __init__(self, control: ControlPlane, key: AssignmentKey, work: Path, size_limit_bytes: int) -> None:
        self._control = control
        self._key = key
        self._work = work
        self._size_limit_bytes = size_limit_bytes
        self._stored: set[str] = set()
        self.over = threading.Event()

    def upload(self, folder: str) -> list[FileRef]:
        """Store every file of a folder. Raises OutputNotUsable, UploadAbandoned, StaleEpoch, Unauthorized."""
        return [self._store(file) for file in output_files(self._work, folder, self._size_limit_bytes)]

    def _store(self, file: OutputFile) -> FileRef:
        with os.fdopen(os.dup(file.descriptor), "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size_bytes = stream.tell()
            tries = 0
            while digest not in self._stored:
                stream.seek(0)
                try:
                    self._control.write_blob(self._key, digest, stream, size_bytes)
                    self._stored.add(digest)
                except Unreachable as error:
                    _LOG.info("upload of %s waits: %s", file.name, error)
                    if self.over.wait(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]):
                        raise UploadAbandoned(file.name) from error
                    tries += 1
                except Refused as error:
                    raise OutputNotUsable(f"the file {file.name!r} was not stored: {error}") from error
        return FileRef(name=file.name, sha256=digest, size_bytes=size_bytes)


class CheckpointUploads:
    """The background thread that uploads checkpoints of one job, the newest first and alone."""

    def __init__(
        self, uploader: Uploader, on_saved: Callable[[CheckpointSaved], None], on_problem: Callable[[str], None]
    ) -> None:
        self._uploader = uploader
        self._on_saved = on_saved
        self._on_problem = on_problem
        self._changed = threading.Condition()
        self._next: CheckpointWritten | None = None
        self._ended = False
        self.stale = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, checkpoint: CheckpointWritten) -> None:
        """This one is next, in place of any that still waits."""
        with self._changed:
            self._next = checkpoint
            self._changed.notify()

    def finish(self, timeout_seconds: float | None = None) -> bool:
        """Upload what waits, then end; False if that took too long."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or self._ended)
                checkpoint, self._next = self._next, None
            if checkpoint is None:
                return
            with contextlib.suppress(UploadAbandoned):
                self._upload(checkpoint)

    def _upload(self, checkpoint: CheckpointWritten) -> None:
        try:
            files = self._uploader.upload(checkpoint.folder)
        except OutputNotUsable as error:
            self._on_problem(f"[modelyard: checkpoint {checkpoint.step} was not saved: {error}]")
        except (StaleEpoch, Unauthorized):
            self.stale = True
        else:
            self._on_saved(CheckpointSaved(step=checkpoint.step, files=files))
