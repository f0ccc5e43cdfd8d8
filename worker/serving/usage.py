"""Usage segments: what every batch consumed, on disk before its answers leave.

A segment is born as `.new-<uuid>.jsonl`, locked (flock) and given its header, then renamed to
`open-<uuid>.jsonl`; each batch appends its lines with one write(2); a background thread calls fsync each
second. After 10 s or 1 MiB, and at the end, it is renamed to `sealed-<uuid>.jsonl`, which nobody
changes any more; the agent ships it and deletes it.

After a kill -9 the lock is gone with its process, so whoever starts next seals what was left open, without
its torn last line. The page cache outlives the process: a killed process loses nothing it answered; a power
cut loses at most a second.

On a full disk nothing is answered that cannot be billed: a batch whose lines find no room is answered 503 `usage cannot
be recorded` (`metering`), and the next one is tried anew.
"""

import fcntl
import os
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from backend.core.wire import ReplicaSpec, UsageHeader, UsageLine
from worker.serving.errors import ReplicaError
from worker.serving.log import log

SEAL_SECONDS = 10.0
SEAL_BYTES = 1024 * 1024
SYNC_SECONDS = 1.0

_encoder = msgspec.json.Encoder()


def encode(lines: list[UsageLine]) -> bytes:
    """Lines as they stand in a segment."""
    return b"".join([_encoder.encode(line) + b"\n" for line in lines])


class Segment:
    """One open segment file. Only its own process writes to it."""

    def __init__(self, folder: Path, spec: ReplicaSpec) -> None:
        self.id = str(uuid.uuid4())
        self.folder = folder
        self.opened_at = time.monotonic()
        header = UsageHeader(
            segment_id=self.id,
            replica_id=spec.replica_id,
            endpoint_id=spec.endpoint_id,
            opened_at=time.time(),
        )
        born = folder / f".new-{self.id}.jsonl"
        self._descriptor = os.open(born, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.size_bytes = 0
            self.append(_encoder.encode(header) + b"\n")
            born.rename(self.path)
        except OSError:
            os.close(self._descriptor)
            born.unlink(missing_ok=True)
            raise

    @property
    def path(self) -> Path:
        """Where the segment lies while it is open."""
        return self.folder / f"open-{self.id}.jsonl"

    def append(self, data: bytes) -> None:
        """One write; a short one is taken back, and raises OSError."""
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            self._truncate()
            raise
        if written != len(data):
            self._truncate()
            raise OSError(f"only {written} of {len(data)} bytes of usage could be written")
        self.size_bytes += written

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, self.size_bytes)

    def sync(self) -> None:
        """Make what was written durable."""
        os.fsync(self._descriptor)

    def seal(self) -> None:
        """Make it durable and final."""
        self.sync()
        self.path.rename(self.folder / f"sealed-{self.id}.jsonl")
        _sync_folder(self.folder)
        os.close(self._descriptor)


class UsageLog:
    """The segments of one replica process. A segment exists only while there is something in it."""

    def __init__(self, folder: Path, spec: ReplicaSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._segment: Segment | None = None
        self._synced_bytes = 0
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="usage-disk")

    def append(self, lines: list[UsageLine]) -> None:
        """Write the lines of one batch; raises OSError when they are not in the segment."""
        if self._segment is None:
            self._segment = Segment(self._folder, self._spec)
            self._synced_bytes = 0
        self._segment.append(encode(lines))
        if self._segment.size_bytes >= SEAL_BYTES:
            self.seal()

    def tick(self) -> None:
        """Called each second: fsync in the background, seal what is old enough."""
        segment = self._segment
        if segment is None:
            return
        if time.monotonic() - segment.opened_at >= SEAL_SECONDS:
            self.seal()
        elif segment.size_bytes != self._synced_bytes:
            self._synced_bytes = segment.size_bytes
            self._in_background(self._disk.submit(segment.sync))

    def seal(self) -> None:
        """End the current segment; the disk's part happens in the background."""
        segment, self._segment = self._segment, None
        if segment is not None:
            self._in_background(self._disk.submit(segment.seal))

    def close(self) -> None:
        """Seal, and wait until everything is on disk."""
        self.seal()
        self._disk.shutdown(wait=True)

    def _in_background(self, work: "Future[None]") -> None:
        work.add_done_callback(_report)


def _report(work: "Future[None]") -> None:
    problem = work.exception()
    if problem is not None:
        log("usage could not be synced", error=str(problem))


def recover(folder: Path) -> list[str]:
    """Seal what dead processes left open in `folder`; answers the ids sealed.

    Raises ReplicaError when the folder cannot be written.
    """
    sealed: list[str] = []
    try:
        for path in sorted([*folder.glob("open-*.jsonl"), *folder.glob(".new-*.jsonl")]):
            with path.open("rb+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # its process lives
                if path.name.startswith("open-") and _keep_whole_lines(file.fileno(), path):
                    segment_id = path.stem.removeprefix("open-")
                    path.rename(folder / f"sealed-{segment_id}.jsonl")
                    sealed.append(segment_id)
                else:
                    path.unlink(missing_ok=True)
        _sync_folder(folder)
    except OSError as error:
        raise ReplicaError(f"usage folder {folder}: {error}") from error
    return sealed


def _keep_whole_lines(descriptor: int, path: Path) -> bool:
    """Cut a torn last line off; False when nothing but the header is left."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    os.ftruncate(descriptor, whole)
    os.fsync(descriptor)
    return content.count(b"\n") > 1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
