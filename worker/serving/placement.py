"""The gateway at work: read the first head, look the key and the endpoint up, hand the socket over.

It answers by itself only what no replica can: health, 401, 404, 503, and heads that are garbage, too slow
or too large. All of it runs in one event loop, on bare sockets, because a socket that has once had a
transport is hard to give away. A trusted proxy's connection is not given away: `worker.serving.proxying` has it.
"""

import asyncio
import contextlib
import errno
import os
import socket
import time

from backend.core.wire import RouteSnapshot
from worker.serving import answers
from worker.serving.errors import RequestError
from worker.serving.head import Head, is_public, parse_head
from worker.serving.judging import bare, find_key, find_route, public_answer
from worker.serving.limits import connection_limit
from worker.serving.links import Link, Links
from worker.serving.log import log
from worker.serving.peers import TrustedProxies, announced
from worker.serving.proxying import Proxying
from worker.serving.refused import RefusedKeys
from worker.serving.syntax import EMPTY_LINE, head_end, read_request
from worker.serving.table import Bounds, RoutingTable

READ_BYTES = 64 * 1024
ACCEPTS_PER_TURN = 64
HEAD_SECONDS = 10.0
IDLE_SECONDS = 75.0
LINGER_SECONDS = 1.0
PAUSE_SECONDS = 0.2
FULL_LOG_SECONDS = 10.0
IDLE_REASON = b"i"


class Waiting:
    """A connection whose request head is not there yet, or whose last answer is being read.

    `peer`: the client's address as far as known. `proxy`: it comes from a trusted proxy that has said nothing yet.
    """

    __slots__ = ("connection", "deadline", "head", "leaving", "origin", "peer", "proxy", "read", "reason")

    def __init__(
        self, connection: socket.socket, read: bytes, deadline: float, origin: Link | None, reason: bytes
    ) -> None:
        self.reason = reason
        self.connection = connection
        self.read = read
        self.deadline = deadline
        self.origin = origin
        self.leaving = False
        self.head: Head | None = None
        self.peer = ""
        self.proxy = False


class Gateway:
    """Everything a gateway knows. All of it runs in one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        routing: RoutingTable,
        trusted: TrustedProxies | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self._bounds = bounds
        self._loop = loop
        self.table = routing
        self._trusted = trusted or TrustedProxies()
        self._refused = RefusedKeys()
        self._links = Links(loop, self._came_back, self._start)
        self._proxying = Proxying(loop, self._links, self._trusted, self._refused)
        self._waiting: dict[int, Waiting] = {}
        self._limit = connection_limit()
        self._full_logged_at = 0.0
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self._follow(routing)

    def take(self, snapshot: RouteSnapshot) -> None:
        """Follow a new routing table."""
        self._follow(RoutingTable(snapshot, self._bounds))
        log("routing table applied", version=snapshot.version, routes=len(snapshot.routes))

    def _follow(self, routing: RoutingTable) -> None:
        self.table = self._proxying.table = routing
        self._links.apply(routing)

    # --- accepting ---------------------------------------------------------------------------

    def listen(self, listener: socket.socket) -> None:
        """Accept what comes on a listening socket, until it is closed."""
        if listener.fileno() >= 0:
            self._loop.add_reader(listener.fileno(), self.accept, listener)

    def accept(self, listener: socket.socket) -> None:
        """Accept what has arrived, at most ACCEPTS_PER_TURN."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = listener.accept()
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE}:
                    return
                if not self._accept_with_spare(listener):
                    self._loop.remove_reader(listener.fileno())
                    self._loop.call_later(PAUSE_SECONDS, self.listen, listener)
                    return
                continue
            self._start(connection, b"", peer=str(address[0]))

    def _accept_with_spare(self, listener: socket.socket) -> bool:
        """No descriptor is left but the one kept for this: accept with it, and turn the client away."""
        with contextlib.suppress(OSError):
            os.close(self._spare)
        try:
            connection, _ = listener.accept()
        except OSError:
            return False
        else:
            self._turn_away(connection)
            return True
        finally:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    def _turn_away(self, connection: socket.socket) -> None:
        """Say at once, whatever was asked, that there is no room."""
        now = time.monotonic()
        if now - self._full_logged_at > FULL_LOG_SECONDS:
            self._full_logged_at = now
            log("connections are turned away: as many are held as may be", limit=self._limit)
        refusal = RequestError(503, "this gateway holds as many connections as it may", (("retry-after", "1"),))
        connection.settimeout(0)
        with contextlib.suppress(OSError):
            connection.send(answers.refusal(refusal, invocation=False, keep_alive=False))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(READ_BYTES)  # what is left unread would reset the connection before it is read
        connection.close()

    def _start(
        self,
        connection: socket.socket,
        read: bytes,
        origin: Link | None = None,
        reason: bytes = b"",
        *,
        peer: str = "",
    ) -> None:
        """Wait for the head of a request on a connection; take what is there at once."""
        if len(self._waiting) + self._proxying.descriptors >= self._limit:
            self._turn_away(connection)
            return
        connection.settimeout(0)
        seconds = IDLE_SECONDS if reason == IDLE_REASON else HEAD_SECONDS
        waiting = Waiting(connection, read, time.monotonic() + seconds, origin, reason)
        waiting.peer, waiting.proxy = peer, peer in self._trusted
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
            data = waiting.connection.recv(READ_BYTES, socket.MSG_DONTWAIT)
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

    # --- judging -----------------------------------------------------------------------------

    def _judge(self, waiting: Waiting) -> None:
        """Act on what has been read, head by head."""
        try:
            if waiting.proxy and not self._ask_proxy(waiting):
                return
            while waiting.read:
                waiting.head = None
                end = head_end(waiting.read)
                if end == 0:
                    return
                waiting.head = parse_head(waiting.read[:end])
                if not is_public(waiting.head):
                    self._place(waiting, waiting.head, end)
                    return
                if not self._answer_public(waiting, waiting.head, end):
                    return
        except RequestError as refusal:
            self._refuse(waiting, refusal)

    def _ask_proxy(self, waiting: Waiting) -> bool:
        """Whether the connection is one client's, for its PROXY header says so; where not, it is not ours any more."""
        header = announced(waiting.read)
        if header is None:
            return False
        waiting.proxy = False
        if header.length:
            waiting.read = waiting.read[header.length :]
            waiting.peer = header.client or waiting.peer
            return True
        self._forget(waiting)
        self._proxying.adopt(waiting.connection, waiting.read, waiting.peer)
        return False

    def _answer_public(self, waiting: Waiting, head: Head, end: int) -> bool:
        """Answer; True when the connection stays."""
        keep = head.keep_alive and not head.has_body
        data = public_answer(self.table, head, keep_alive=keep)
        if not keep:
            self._leave(waiting, data)
            return False
        waiting.read = waiting.read[end:]
        waiting.deadline = time.monotonic() + IDLE_SECONDS
        return self._send(waiting, data)

    def _place(self, waiting: Waiting, head: Head, end: int) -> None:
        try:
            key = find_key(self.table, head)
        except RequestError:
            self._refused.count(self._trusted.client(waiting.peer, read_request(waiting.read[:end]).fields))
            raise
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
        route = find_route(self.table, key, head)
        if origin is not None and route is origin.route:
            if waiting.reason == b"k":
                raise RequestError(401, "the replica does not know this key yet", (("retry-after", "1"),))
            if waiting.reason == b"e":
                raise RequestError(404, f"there is no endpoint {head.endpoint!r}")
        self._forget(waiting)
        try:
            self._links.place(route, waiting.connection, waiting.read)
        except RequestError:
            self._watch(waiting)
            raise

    def _came_back(self, link: Link, reason: bytes, unread: bytes, connection: socket.socket) -> None:
        """A replica gave a connection back: another endpoint (e), a key it does not know (k), idle (i)."""
        self._start(connection, unread, link, reason)

    # --- answering and ending ----------------------------------------------------------------

    def _refuse(self, waiting: Waiting, refusal: RequestError) -> None:
        head = waiting.head
        invocation = head is not None and head.kind == "invocations"
        self._leave(waiting, bare(answers.refusal(refusal, invocation=invocation, keep_alive=False), head))

    def _send(self, waiting: Waiting, data: bytes) -> bool:
        """Send a short answer; a client that has no room for it is dropped."""
        try:
            sent = waiting.connection.send(data, socket.MSG_DONTWAIT)
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
            if waiting.leaving or waiting.read in {b"", EMPTY_LINE}:
                self._close(waiting)
            else:
                self._refuse(waiting, RequestError(408, "the head of the request did not arrive in time"))
        self._proxying.tick(now)
        self._refused.tick(now)
        self._links.reconcile()

    async def drain(self, seconds: float) -> None:
        """Let the requests that are under way here be answered, for at most `seconds`."""
        await self._proxying.drain(seconds)

    def close(self) -> None:
        """Let go of everything. Handed connections live on in their replicas."""
        for waiting in list(self._waiting.values()):
            self._close(waiting)
        self._proxying.close()
        self._links.close()
        with contextlib.suppress(OSError):
            os.close(self._spare)
