"""Objects: a small interface over obstore (a local directory, S3, GCS, Azure).

Keys look like `blobs/<organization>/<first two hex digits>/<sha256>`. A put is atomic: a reader sees the whole
object or none. Blobs are content-addressed per organization; the digest is checked before anything is stored,
so two writers of one blob write the same bytes and neither can harm the other.

Large objects pass through a spool: memory up to `SPOOL_BYTES`, an unnamed temporary file beyond, from which
obstore uploads in parts.
"""

import errno
import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Self
from uuid import UUID

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url
from obstore.store import ObjectStore as Store

from backend.core.errors import Invalid, NoSpace, NotFound, Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 1024 * 1024
SPOOL_BYTES = 8 * 1024 * 1024
JOINED_BUFFER_BYTES = 64 * 1024
RETRY_SECONDS = 5


class DigestMismatch(Invalid):
    """The bytes are not those of the declared SHA-256."""

    code = "checksum_mismatch"
    title = "Checksum mismatch"
    remedy = "compute the SHA-256 again and send the bytes again"


class ObjectMissing(NotFound):
    """No object under this key."""

    code = "object_not_found"
    title = "Content not found"
    remedy = "the platform has lost this content: tell whoever runs it"


class StorageUnavailable(Unavailable):
    """The object store does not answer, or not as it should."""

    code = "storage_unavailable"
    title = "The object store is down"
    remedy = "try again in some seconds"


class StorageFull(NoSpace):
    """The object store has no room left."""

    code = "storage_full"
    title = "The object store is full"
    remedy = "the platform's administrator must make room where its objects lie"


STORED = (StorageUnavailable, StorageFull)
"""What stops a route that keeps objects."""


@contextmanager
def _outside() -> Iterator[None]:
    """What the store raises, as facts. Raises StorageFull, StorageUnavailable; lets "not found" pass."""
    try:
        yield
    except NotFoundError:
        raise
    except (BaseError, OSError) as error:
        # obstore has no class of its own for it: the kernel's words are all there is.
        full = os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error)
        if full:
            raise StorageFull(
                "the object store has no room left; nothing was changed",
                hint="the platform's administrator must make room where its objects lie",
                retry_after_seconds=RETRY_SECONDS,
            ) from error
        if isinstance(error, FileNotFoundError):
            raise
        raise StorageUnavailable(
            "the object store did not answer; nothing was changed", retry_after_seconds=RETRY_SECONDS
        ) from error


def new_spool() -> IO[bytes]:
    """A temporary file that stays in memory up to `SPOOL_BYTES`; gone when closed."""
    return SpooledTemporaryFile(max_size=SPOOL_BYTES)


class Received:
    """Bytes of a request as they come: spooled, counted and hashed. A context manager; gone when it ends."""

    def __init__(self) -> None:
        self._spool = new_spool()
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._spool.close()

    def write(self, chunk: bytes) -> None:
        """The next bytes."""
        self._digest.update(chunk)
        self._spool.write(chunk)
        self.size_bytes += len(chunk)

    def sha256(self) -> str:
        """Of all bytes so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def whole(self) -> bytes | IO[bytes]:
        """All of it to put: bytes where it fits into memory, else a file at its start."""
        self._spool.seek(0)
        return self._spool if self.size_bytes > SPOOL_BYTES else self._spool.read()


class ObjectStore:
    """Puts and gets whole objects; streams large ones. Safe to use from many threads."""

    def __init__(self, url: str) -> None:
        if url.startswith("file://"):
            root = Path(url.removeprefix("file://"))
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store: Store = LocalStore(root, automatic_cleanup=True)
            self._is_local = True
        else:
            self._store = from_url(url)
            self._is_local = False

    def put(self, key: str, data: bytes | IO[bytes]) -> None:
        """Write one object, replacing any. A file is read from where it stands, in parts when it is large."""
        with _outside():
            obstore.put(self._store, key, data)

    def get(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        try:
            with _outside():
                return bytes(obstore.get(self._store, key).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing(f"there is no object {key}") from error

    def stream(self, key: str) -> Iterator[bytes]:
        """The object in chunks of about a MiB. Raises ObjectMissing before the first chunk."""
        if self._is_local:
            # obstore streams a local file in pieces of 8 KiB, each through another thread.
            return self._ranges(key, self._size(key))
        try:
            with _outside():
                result = obstore.get(self._store, key)
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing(f"there is no object {key}") from error
        return (bytes(chunk) for chunk in result.stream(min_chunk_size=CHUNK_BYTES))

    def _size(self, key: str) -> int:
        try:
            with _outside():
                return obstore.head(self._store, key)["size"]
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing(f"there is no object {key}") from error

    def _ranges(self, key: str, size: int) -> Iterator[bytes]:
        for start in range(0, size, CHUNK_BYTES):
            yield bytes(self.read_range(key, start, min(start + CHUNK_BYTES, size)))

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        """Bytes `start` up to `end` of an object, fewer where it is shorter. Raises ObjectMissing."""
        try:
            with _outside():
                return memoryview(obstore.get_range(self._store, key, start=start, end=end))
        except (NotFoundError, FileNotFoundError) as error:
            raise ObjectMissing(f"there is no object {key}") from error

    def joined(self, parts: Sequence[tuple[str, int]]) -> IO[bytes]:
        """Objects (key, size in bytes) one after the other as one file to read and seek in. Raises ObjectMissing.

        Local ones are read where they lie, while they are needed; others are fetched once, into a spool.
        """
        if self._is_local:
            return io.BufferedReader(_Joined(self, parts), JOINED_BUFFER_BYTES)
        with ExitStack() as until_complete:
            spool = until_complete.enter_context(new_spool())
            for key, _ in parts:
                for chunk in self.stream(key):
                    spool.write(chunk)
            spool.seek(0)
            until_complete.pop_all()
        return spool

    def exists(self, key: str) -> bool:
        """Whether there is an object under this key."""
        try:
            with _outside():
                obstore.head(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when it is absent."""
        try:
            with _outside():
                obstore.delete(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix that ends at a `/`, in no order."""
        return [str(entry["path"]) for batch in obstore.list(self._store, prefix) for entry in batch]

    def put_blob_bytes(self, organization_id: UUID, sha256: str, content: bytes) -> None:
        """Write a blob that is in memory. Raises DigestMismatch and leaves nothing."""
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DigestMismatch(f"declared SHA-256 {sha256}, received {found}")
        key = blob_key(organization_id, sha256)
        if not self.exists(key):
            self.put(key, content)

    def put_blob(self, organization_id: UUID, sha256: str, data: Iterable[bytes]) -> int:
        """Write a blob, streaming; returns its size in bytes. Raises DigestMismatch and leaves nothing."""
        with Received() as received:
            for chunk in data:
                received.write(chunk)
            self.put_received(organization_id, sha256, received)
            return received.size_bytes

    def put_received(self, organization_id: UUID, sha256: str, content: Received) -> None:
        """Write a blob that was received. Raises DigestMismatch and leaves nothing."""
        if content.sha256() != sha256:
            raise DigestMismatch(f"declared SHA-256 {sha256}, received {content.sha256()}")
        key = blob_key(organization_id, sha256)
        if not self.exists(key):
            self.put(key, content.whole())

    def get_blob(self, organization_id: UUID, sha256: str) -> bytes:
        """A whole blob. Raises ObjectMissing."""
        return self.get(blob_key(organization_id, sha256))

    def stream_blob(self, organization_id: UUID, sha256: str) -> Iterator[bytes]:
        """A blob in chunks. Raises ObjectMissing."""
        return self.stream(blob_key(organization_id, sha256))


class _Joined(io.RawIOBase):
    """Objects as one file. A read never passes the end of one object: callers above ask again."""

    def __init__(self, store: ObjectStore, parts: Sequence[tuple[str, int]]) -> None:
        self._store = store
        self._keys = [key for key, _ in parts]
        self._starts = [0, *accumulate(size for _, size in parts)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._starts[-1] or not view:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        start = self._at - self._starts[number]
        end = min(start + len(view), self._starts[number + 1] - self._starts[number])
        found = self._store.read_range(self._keys[number], start, end)
        view[: len(found)] = found
        self._at += len(found)
        return len(found)


def blob_key(organization_id: UUID, sha256: str) -> str:
    """Where an organization's blob lies."""
    return f"blobs/{organization_id}/{sha256[:2]}/{sha256}"
