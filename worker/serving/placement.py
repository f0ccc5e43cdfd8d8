"""The gateway at work: read the first head, look the key and the endpoint up, hand the socket over.

It answers by itself only what no replica can: health, 401, 404, 503, and heads that are garbage, too slow
or too large. All of it runs in one event loop, on bare sockets, because a socket that has once had a
transport is hard to give away.
"""

import asyncio
import errno
import socket
import time

from backend.core.wire import RouteSnapshot
from worker.serving import answers
from worker.serving.description import server_metadata
from worker.serving.errors import RequestError
from worker.serving.head import METHODS, PUBLIC, Head, head_end, parse_head
from worker.serving.links import Link, Links
from worker.serving.log import log
from worker.serving.table import RoutingTable

READ_BYTES = 64 * 1024
ACCEPTS_PER_TURN = 64
WAITING_LIMIT = 10_000
HEAD_SECONDS = 10.0
IDLE_SECONDS = 75.0
LINGER_SECONDS = 1.0
PAUSE_SECONDS = 0.2
IDLE_REASON = b"i"


class Waiting:
    """A connection whose request head is not there yet, or whose last answer is being read."""

    __slots__ = ("connection", "deadline", "invocation", "leaving", "origin", "read", "reason")

    def __init__(
        self, connection: socket.socket, read: bytes, deadline: float, origin: Link | None, reason: bytes
    ) -> None:
        self.reason = reason
        self.connection = connection
        self.read = read
        self.deadline = deadline
        self.origin = origin
        self.leaving = False
        self.invocation = False


class Gateway:
    """Everything a gateway knows. All of it runs in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, routing: RoutingTable) -> None:
        self._loop = loop
        self.table = routing
        self._links = Links(loop, self._came_back, self._start)
        self._waiting: dict[int, Waiting] = {}
        self._links.apply(routing)

    def take(self, snapshot: RouteSnapshot) -> None:
        """Follow a new routing table."""
        self.table = RoutingTable(snapshot)
        self._links.apply(self.table)
        log("routing table applied", version=snapshot.version, routes=len(snapshot.routes))

    def listen(self, listener: socket.socket) -> None:
        """Accept what comes on a listening socket, until it is closed."""
        if listener.fileno() >= 0:
            self._loop.add_reader(listener.fileno(), self.accept, listener)

    def accept(self, listener: socket.socket) -> None:
        """Accept what has arrived, at most ACCEPTS_PER_TURN."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    log("no descriptors left: accepting again in a moment")
                    self._loop.remove_reader(listener.fileno())
                    self._loop.call_later(PAUSE_SECONDS, self.listen, listener)
                return
            self._start(connection, b"")

    def _start(self, connection: socket.socket, read: bytes, origin: Link | None = None, reason: bytes = b"") -> None:
        """Wait for the head of a request on a connection; take what is there at once."""
        if len(self._waiting) >= WAITING_LIMIT:
            connection.close()
            return
        connection.settimeout(0)
        seconds = IDLE_SECONDS if reason == IDLE_REASON else HEAD_SECONDS
        waiting = Waiting(connection, read, time.monotonic() + seconds, origin, reason)
        self._watch(waiting)
        if read:
            self._judge(waiting)
        else:
            self._readable(waiting)

    def _watch(self, waiting: Waiting) -> None:
        self._waiting[waiting.connection.fileno()] = waiting
        self._loop.add_reader(waiting.connection.fileno(), self._readable, waiting)

    def _readable(self, waiting: Waiting) -> None:
        try:
            data = waiting.connection.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._close(waiting)
        elif not waiting.leaving:
            if not waiting.read:
                waiting.deadline = time.monotonic() + HEAD_SECONDS
            waiting.read += data
            self._judge(waiting)

    def _judge(self, waiting: Waiting) -> None:
        """Act on what has been read, head by head."""
        try:
            while waiting.read:
                waiting.read = waiting.read.lstrip(b"\r\n")
                end = head_end(waiting.read)
                if end == 0:
                    return
                head = parse_head(waiting.read[:end])
                waiting.invocation = head.kind == "invocations"
                if head.kind not in PUBLIC:
                    self._place(waiting, head)
                    return
                if not self._answer_public(waiting, head, end):
                    return
        except RequestError as refusal:
            self._refuse(waiting, refusal)

    def _answer_public(self, waiting: Waiting, head: Head, end: int) -> bool:
        """Answer; True when the connection stays."""
        if head.method != METHODS[head.kind]:
            raise RequestError(405, f"this address takes {METHODS[head.kind]}", (("allow", "GET"),))
        keep = head.keep_alive and not head.has_body
        ready = self.table.version >= 0
        status = 503 if head.kind == "ready" and not ready else 200
        content = server_metadata()
        if head.kind == "live":
            content = {"live": True}
        elif head.kind == "ready":
            content = {"ready": ready}
        data = answers.answer(status, content, keep_alive=keep, old_http=head.old_http)
        if not keep:
            self._leave(waiting, data)
            return False
        waiting.read = waiting.read[end:]
        waiting.deadline = time.monotonic() + IDLE_SECONDS
        return self._send(waiting, data)

    def _place(self, waiting: Waiting, head: Head) -> None:
        key = self.table.key(head.token_sha256) if head.token_sha256 else None
        if key is None:
            raise RequestError(401, "a valid bearer key is needed", (("www-authenticate", "Bearer"),))
        origin = waiting.origin
        if origin is not None and origin.route.organization_id != key.organization_id:
            log(
                "connection closed: a key of another organization on it",
                organization_id=origin.route.organization_id,
                key_id=key.key_id,
                key_organization_id=key.organization_id,
            )
            self._close(waiting)
            return
        if head.kind == "unknown":
            raise RequestError(404, "there is nothing at this address")
        route = self.table.routes.get((key.organization_id, head.endpoint))
        if origin is not None and waiting.reason == b"k" and route is origin.route:
            raise RequestError(401, "the replica does not know this key yet", (("retry-after", "1"),))
        if route is None or (origin is not None and waiting.reason == b"e" and route is origin.route):
            raise RequestError(404, f"there is no endpoint {head.endpoint!r}")
        self._forget(waiting)
        if not self._links.place(route, waiting.connection, waiting.read):
            self._watch(waiting)
            raise RequestError(503, "no replica of this endpoint is ready", (("retry-after", "2"),))

    def _came_back(self, link: Link, reason: bytes, unread: bytes, connection: socket.socket) -> None:
        """A replica gave a connection back: another endpoint (e), a key it does not know (k), idle (i)."""
        self._start(connection, unread, link, reason)

    def _refuse(self, waiting: Waiting, refusal: RequestError) -> None:
        self._leave(waiting, answers.refusal(refusal, invocation=waiting.invocation, keep_alive=False))

    def _send(self, waiting: Waiting, data: bytes) -> bool:
        """Send a short answer; a client that has no room for it is dropped."""
        try:
            sent = waiting.connection.send(data)
        except OSError:
            sent = 0
        if sent != len(data):
            self._close(waiting)
        return sent == len(data)

    def _leave(self, waiting: Waiting, data: bytes) -> None:
        """Send the last answer, then our end, and wait a moment for the client to read it.

        Closing at once, with a body still coming, would reset the connection before it is read.
        """
        if not self._send(waiting, data):
            return
        waiting.leaving = True
        waiting.deadline = time.monotonic() + LINGER_SECONDS
        try:
            waiting.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(waiting)

    def _forget(self, waiting: Waiting) -> None:
        self._loop.remove_reader(waiting.connection.fileno())
        self._waiting.pop(waiting.connection.fileno(), None)

    def _close(self, waiting: Waiting) -> None:
        self._forget(waiting)
        waiting.connection.close()

    def tick(self, now: float) -> None:
        """Called twice a second with the monotonic time: end what is slow, look for new processes."""
        for waiting in [each for each in self._waiting.values() if each.deadline < now]:
            if waiting.leaving or not waiting.read:
                self._close(waiting)
            else:
                self._refuse(waiting, RequestError(408, "the head of the request did not arrive in time"))
        self._links.reconcile()

    def close(self) -> None:
        """Let go of everything. Handed connections live on in their replicas."""
        for waiting in list(self._waiting.values()):
            self._close(waiting)
        self._links.close()
