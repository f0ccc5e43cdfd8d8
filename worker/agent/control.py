"""The HTTP client of `/agent/v1`: one kept-alive connection per thread, every call safe to repeat.

ControlError
├── Unreachable     no answer, or one that says "later" (5xx, 408, 429): keep going, try again
├── Unauthorized    401: this instance is over
├── StaleEpoch      409: this assignment's epoch is over
└── Refused         any other 4xx: what was said is wrong; repeating does not help
"""

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from typing import BinaryIO, NoReturn
from urllib.parse import urlsplit

import msgspec

from backend.core.wire import HelloReply, HelloRequest, RunningAssignment, SyncReply

TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 1 << 20
FRAME_DIGEST_BYTES = 64
FRAME_SIZE_BYTES = 16
_LATER = frozenset({408, 429})


class ControlError(Exception):
    """Root of what a call to the control plane can end in."""


class Unreachable(ControlError):
    """Nobody answered, or the answer was to come again later."""


class Unauthorized(ControlError):
    """The instance token is not, or no longer, known."""


class StaleEpoch(ControlError):
    """The assignment has moved on; what this agent does for it must end."""


class Refused(ControlError):
    """The control plane does not accept what was said; `status` is the HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the control plane refused with {status}: {detail}")
        self.status = status


class SpooledSync(msgspec.Struct, frozen=True, kw_only=True):
    """A `wire.SyncRequest` whose reports are the JSON lines of the spool, not decoded again."""

    reports: list[msgspec.Raw]
    running: list[RunningAssignment]
    interruption_notice: str | None = None


class AssignmentKey(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment in one epoch."""

    id: str
    epoch: int


class ControlPlane:
    """The control plane as an agent sees it."""

    def __init__(self, api_url: str, token: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(api_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"MODELYARD_API_URL must be an http(s) address, not {api_url!r}")
        self._parts = parts
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout_seconds = timeout_seconds
        self._local = threading.local()

    def hello(self, request: HelloRequest) -> HelloReply:
        """Introduce this agent. Raises ControlError."""
        return msgspec.json.decode(self._call("POST", "/hello", msgspec.json.encode(request)), type=HelloReply)

    def sync(self, request: SpooledSync) -> SyncReply:
        """Tell and be told. Raises ControlError."""
        return msgspec.json.decode(self._call("POST", "/sync", msgspec.json.encode(request)), type=SyncReply)

    def read_blob(self, key: AssignmentKey, sha256: str) -> Iterator[bytes]:
        """The content of one blob, in blocks. Raises ControlError, also while iterating."""
        response = self._exchange("GET", _blob_path(key, sha256), None)
        yield from self._blocks(response, None)

    def read_blobs(self, key: AssignmentKey, digests: list[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The contents of ≤ 1,000 blobs as (digest, blocks); each must be read to its end before the next.

        Raises ControlError, also while iterating; an answer that ends early is Unreachable.
        """
        body = json.dumps({"sha256": digests}).encode()
        path = f"/assignments/{key.id}/blobs/batch?epoch={key.epoch}"
        response = self._exchange("POST", path, body)
        for _ in digests:
            head = b"".join(self._blocks(response, FRAME_DIGEST_BYTES + FRAME_SIZE_BYTES))
            yield head[:FRAME_DIGEST_BYTES].decode(), self._blocks(response, int(head[FRAME_DIGEST_BYTES:]))
        response.read()

    def write_blob(self, key: AssignmentKey, sha256: str, file: BinaryIO, size_bytes: int) -> None:
        """Store the rest of `file` (seekable, `size_bytes` long). Raises ControlError; 422 = wrong digest."""
        self._exchange("PUT", _blob_path(key, sha256), file, size_bytes=size_bytes).read()

    def write_usage(self, key: AssignmentKey, segment_id: str, lines: bytes) -> None:
        """Deliver a sealed usage segment; one delivered before is accepted again. Raises ControlError."""
        self._call("POST", f"/assignments/{key.id}/usage-segments/{segment_id}?epoch={key.epoch}", lines)

    def _call(self, method: str, path: str, body: bytes) -> bytes:
        response = self._exchange(method, path, body)
        return b"".join(self._blocks(response, None))

    def _exchange(
        self, method: str, path: str, body: bytes | BinaryIO | None, *, size_bytes: int | None = None
    ) -> http.client.HTTPResponse:
        """Send once, or twice when a kept-alive connection turns out to be closed."""
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json" if size_bytes is None else "application/octet-stream"
            headers["Content-Length"] = str(len(body) if isinstance(body, bytes) else size_bytes)
        start = None if body is None or isinstance(body, bytes) else body.tell()
        for _ in range(2):
            connection, reused = self._connection()
            try:
                connection.request(method, f"{self._parts.path}/agent/v1{path}", body, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if not reused:
                    raise Unreachable(f"{method} {path}: {error or type(error).__name__}") from error
                if start is not None and not isinstance(body, bytes | None):
                    body.seek(start)
                continue
            if response.status < http.client.MULTIPLE_CHOICES:
                return response
            self._refuse(response)
        raise Unreachable(f"{method} {path}: the connection closed twice")

    def _refuse(self, response: http.client.HTTPResponse) -> NoReturn:
        try:
            detail = response.read(65536).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            detail = ""
        self._drop()
        if response.status == http.client.UNAUTHORIZED:
            raise Unauthorized("the control plane does not know this instance token (any more)")
        if response.status == http.client.CONFLICT:
            raise StaleEpoch(detail)
        if response.status >= http.client.INTERNAL_SERVER_ERROR or response.status in _LATER:
            raise Unreachable(f"the control plane answered {response.status}: {detail[:500]}")
        raise Refused(response.status, detail[:2000])

    def _blocks(self, response: http.client.HTTPResponse, size_bytes: int | None) -> Iterator[bytes]:
        """The next `size_bytes` of a body (None: all of it) in blocks of at most 1 MiB."""
        left = size_bytes
        while left is None or left > 0:
            try:
                block = response.read(BLOCK_BYTES if left is None else min(left, BLOCK_BYTES))
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                raise Unreachable(f"the answer broke off: {error}") from error
            if not block:
                if left:
                    self._drop()
                    raise Unreachable(f"the answer ended {left} bytes early")
                return
            left = None if left is None else left - len(block)
            yield block

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is not None:
            return kept, kept.sock is not None
        host, port = self._parts.hostname or "", self._parts.port
        made: http.client.HTTPConnection
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            made = http.client.HTTPSConnection(host, port, timeout=self._timeout_seconds, context=context)
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)
        made.blocksize = BLOCK_BYTES
        self._local.connection = made
        return made, False

    def _drop(self) -> None:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is not None:
            kept.close()
            self._local.connection = None

    def close(self) -> None:
        """Close this thread's connection."""
        self._drop()


def _blob_path(key: AssignmentKey, sha256: str) -> str:
    return f"/assignments/{key.id}/blobs/{sha256}?epoch={key.epoch}"
