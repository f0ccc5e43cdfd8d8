"""HTTP over a Unix socket for the cloud's calls. Errors: {"error": code, "detail": sentence}."""

import contextlib
import socketserver
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from worker.localhost.cloud import Cloud, CloudError

_BODY_LIMIT_BYTES = 256 * 1024
_IDLE_SECONDS = 10.0
T = TypeVar("T")


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /machines`."""

    tag: str
    shape: str
    environment: dict[str, str] = {}


class FaultRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /faults`."""

    operation: Literal["create"]
    reason: str


class CloudServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves one cloud on one socket; made with umask 077, so that only this user connects."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: Path, cloud: Cloud) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)
        self.cloud = cloud


class _Handler(BaseHTTPRequestHandler):
    server: CloudServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _get(self) -> tuple[int, object]:
        if self.path == "/machines":
            return 200, {"machines": self.server.cloud.list()}
        return 200, self.server.cloud.describe(self._tag())

    def _post(self) -> tuple[int, object]:
        if self.path == "/machines":
            wanted = self._body(CreateRequest)
            return 200, self.server.cloud.create(wanted.tag, wanted.shape, wanted.environment)
        if self.path == "/faults":
            self.server.cloud.fail_next_create(self._body(FaultRequest).reason)
            return 200, {}
        raise CloudError(404, "unknown-path", f"nothing is at {self.path}")

    def _delete(self) -> tuple[int, object]:
        return 202, self.server.cloud.terminate(self._tag())

    def _tag(self) -> str:
        prefix, _, tag = self.path.rpartition("/")
        if prefix != "/machines" or not tag:
            raise CloudError(404, "unknown-path", f"nothing is at {self.path}")
        return tag

    def _body(self, kind: type[T]) -> T:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _BODY_LIMIT_BYTES:
            raise CloudError(413, "too-large", f"a body has at most {_BODY_LIMIT_BYTES} bytes")
        try:
            return msgspec.json.decode(self.rfile.read(length), type=kind)
        except msgspec.DecodeError as error:
            raise CloudError(400, "bad-body", str(error)) from error

    def _answer(self, call: Callable[[], tuple[int, object]]) -> None:
        try:
            status, body = call()
        except CloudError as error:
            status, body = error.status, {"error": error.code, "detail": error.detail}
        except OSError as error:
            status, body = 507, {"error": "no-space", "detail": str(error)}
        content = msgspec.json.encode(body)
        # A caller that gave up asks again by tag.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the base class's name
        """Requests are not logged; events are."""
