"""A small real control plane over HTTP: the contract of `/agent/v1` with its state in memory, for the agent's tests."""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import msgspec

from backend.core.wire import (
    Assignment,
    Ended,
    HelloReply,
    HelloRequest,
    Report,
    ReportBody,
    RunningAssignment,
    Standby,
    SyncReply,
    SyncRequest,
)

Body = TypeVar("Body", bound=ReportBody)
TOKEN = "instance-token"
_BLOB = re.compile(r"/agent/v1/assignments/([^/]+)/blobs/([0-9a-f]{64})\?epoch=(\d+)")
_BATCH = re.compile(r"/agent/v1/assignments/([^/]+)/blobs/batch\?epoch=(\d+)")
_USAGE = re.compile(r"/agent/v1/assignments/([^/]+)/usage-segments/([^?]+)\?epoch=(\d+)")


class ControlServer:
    """State, and the HTTP server in front of it. `port` 0 = any; the same port may be used again after `stop`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.hellos: list[HelloRequest] = []
        self.wanted: dict[str, Assignment] = {}
        self.reports: dict[tuple[str, int], list[Report]] = {}
        self.running: list[RunningAssignment] = []
        self.notices: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.segments: dict[str, bytes] = {}
        self.syncs = 0
        self.duplicates = 0
        self.known = True
        self.stale: set[str] = set()
        self.drain = False
        self.standby: Standby | None = None
        self.heartbeat_seconds = 0.3
        self.broker_url = ""
        self.broker_prefix = ""
        self.broker_queue = "instance"
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    # --- as the tests use it ---

    def start(self) -> None:
        """Answer; nothing to do if it does already."""
        if self._server is not None:
            return
        owner = self

        class Handler(_Handler):
            control = owner

        self._server = _QuietServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Answer nothing, and close what is open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def up(self) -> bool:
        return self._server is not None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add_blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    def want(self, assignment: Assignment) -> None:
        with self.changed:
            self.wanted[assignment.id] = assignment

    def ask_to_stop(self, assignment_id: str) -> None:
        with self.changed:
            wanted = self.wanted[assignment_id]
            self.wanted[assignment_id] = msgspec.structs.replace(wanted, desired="stop", stop_reason="asked")

    def bodies(self, assignment_id: str, kind: type[Body], epoch: int = 1) -> list[Body]:
        found = self.reports.get((assignment_id, epoch), [])
        return [report.body for report in found if isinstance(report.body, kind)]

    def wait(self, condition: Callable[[], Any], timeout_seconds: float = 30.0) -> Any:
        """The condition's truthy value, as soon as it has one."""
        deadline = time.monotonic() + timeout_seconds
        with self.changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"did not come true in {timeout_seconds} s; reports: {self.reports}")
                self.changed.wait(min(left, 0.2))
            return value

    def wait_ended(self, assignment_id: str, epoch: int = 1, timeout_seconds: float = 30.0) -> Ended:
        ended: list[Ended] = self.wait(lambda: self.bodies(assignment_id, Ended, epoch), timeout_seconds)
        return ended[0]

    # --- as agents use it ---

    def hello(self, request: HelloRequest) -> HelloReply:
        self.hellos.append(request)
        return HelloReply(
            instance_id="instance",
            organization_id="organization",
            broker_url=self.broker_url,
            broker_prefix=self.broker_prefix,
            broker_queue=self.broker_queue,
            heartbeat_seconds=self.heartbeat_seconds,
        )

    def sync(self, request: SyncRequest) -> SyncReply:
        self.syncs += 1
        self.running = list(request.running)
        if request.interruption_notice:
            self.notices.append(request.interruption_notice)
        stale = set(self.stale)
        accepted: dict[str, int] = {}
        for report in request.reports:
            wanted = self.wanted.get(report.assignment_id)
            if wanted is None or wanted.epoch != report.epoch:
                stale.add(report.assignment_id)
                continue
            kept = self.reports.setdefault((report.assignment_id, report.epoch), [])
            if report.seq == len(kept) + 1:
                kept.append(report)
            else:
                assert report.seq <= len(kept), f"a gap before {report}"
                assert report == kept[report.seq - 1], f"another report with the number of {report}"
                self.duplicates += 1
            accepted[report.assignment_id] = len(kept)
        return SyncReply(
            assignments=list(self.wanted.values()),
            accepted=accepted,
            stale=sorted(stale),
            drain=self.drain,
            heartbeat_seconds=self.heartbeat_seconds,
            standby=None if self.wanted or self.drain else self.standby,
        )


class _QuietServer(ThreadingHTTPServer):
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed agent resets its connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # passed on as it came


class _Handler(BaseHTTPRequestHandler):
    control: ControlServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _handle(self) -> None:
        body = self._body()
        if not self.control.up:
            self.close_connection = True
            return
        with self.control.changed:
            status, answer = self._route(body)
            self.control.changed.notify_all()
        self._answer(status, answer)

    def _route(self, body: bytes) -> tuple[int, bytes]:
        control = self.control
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" or not control.known:
            return 401, b"{}"
        if self.path == "/agent/v1/hello":
            return 200, msgspec.json.encode(control.hello(msgspec.json.decode(body, type=HelloRequest)))
        if self.path == "/agent/v1/sync":
            return 200, msgspec.json.encode(control.sync(msgspec.json.decode(body, type=SyncRequest)))
        for pattern, answer in ((_BATCH, self._batch), (_BLOB, self._blob), (_USAGE, self._usage)):
            match = pattern.fullmatch(self.path)
            if match:
                wanted = control.wanted.get(match.group(1))
                if pattern is not _USAGE and (wanted is None or str(wanted.epoch) != match.groups()[-1]):
                    return 409, b"{}"
                return answer(match, body)
        return 404, b"{}"

    def _batch(self, _match: re.Match[str], body: bytes) -> tuple[int, bytes]:
        digests = json.loads(body)["sha256"]
        if len(digests) > 1000:
            return 422, b"too many"
        frames = [f"{d}{len(self.control.blobs[d]):016}".encode() + self.control.blobs[d] for d in digests]
        return 200, b"".join(frames)

    def _blob(self, match: re.Match[str], body: bytes) -> tuple[int, bytes]:
        digest = match.group(2)
        if self.command == "GET":
            content = self.control.blobs.get(digest)
            return (200, content) if content is not None else (404, b"{}")
        if hashlib.sha256(body).hexdigest() != digest:
            return 422, b'{"code": "checksum_mismatch"}'
        self.control.blobs[digest] = body
        return 200, json.dumps({"size_bytes": len(body)}).encode()

    def _usage(self, match: re.Match[str], body: bytes) -> tuple[int, bytes]:
        assert self.control.segments.setdefault(match.group(2), body) == body
        return 200, b"{}"

    do_GET = _handle  # noqa: N815 # the names that http.server calls
    do_POST = _handle  # noqa: N815 # same
    do_PUT = _handle  # noqa: N815 # same
