"""A pool of connections to replica processes: one request, one answer at a time on each, HTTP/1.1.

A connection is a socket pair whose other end a replica process adopts, as it adopts a client's. It is made when all the
others are busy, kept while it is used, and closed by this side: a replica never closes one that could
carry a request at that moment, so no request is lost when a process drains.

Replicas are tenants' processes: the size of an answer's head and body, the number of requests that wait for one process
and the bytes of their answers are bounded.
"""

import asyncio
import socket
import time
from collections import deque

from backend.core.wire import Route
from worker.serving import packets
from worker.serving.errors import RequestError
from worker.serving.links import Link, Links

IDLE_SECONDS = 30.0
"""Shorter than a replica's patience with an idle connection."""
BUSY_LIMIT = 512
"""Requests under way in one replica process."""
ANSWER_HEAD_BYTES = 16 * 1024
ANSWER_BYTES = 512 << 20
HELD_BYTES = 1 << 30
"""Answers being read, over all tenants."""
HEAD_CACHE_ENTRIES = 1024
SOCKET_BUFFER_BYTES = 1 << 20


class ReplicaGone(RequestError):
    """The replica process ended, or said what is no answer, while it worked on a request."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


class AnswerHead:
    """What matters of the head of an answer. `json_bytes`: length of the JSON before binary tensors, or None."""

    __slots__ = ("content_length", "json_bytes", "keep", "retry_after", "status", "variant")

    def __init__(self, raw: bytes) -> None:
        """Parse a whole head; raises ValueError."""
        status_line, *lines = raw.decode("latin-1").split("\r\n")
        protocol, _, rest = status_line.partition(" ")
        if protocol != "HTTP/1.1":
            raise ValueError(f"not an answer: {status_line[:40]!r}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        self.status = int(rest[:3])
        self.content_length = int(headers["content-length"]) if "content-length" in headers else -1
        if not 0 <= self.content_length <= ANSWER_BYTES:
            raise ValueError("the answer has no acceptable length")
        length = headers.get("inference-header-content-length")
        self.json_bytes = None if length is None else int(length)
        self.keep = headers.get("connection", "").lower() != "close"
        self.variant = headers.get("x-modelyard-variant", "")
        self.retry_after = headers.get("retry-after", "")


class Answer:
    """A whole answer of a replica."""

    __slots__ = ("body", "head")

    def __init__(self, head: AnswerHead, body: bytes) -> None:
        self.head = head
        self.body = body


class Lane:
    """What the pool knows of one replica process."""

    __slots__ = ("busy", "idle", "link")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.busy = 0
        self.idle: deque[PooledConnection] = deque()

    def take(self) -> "PooledConnection | None":
        """An idle connection, if there is one that was made after the last change of the route.

        A new one's packet stands behind the route's on the same line, so no request overtakes the key that it needs.
        """
        while self.idle:
            connection = self.idle.pop()
            if connection.epoch == self.link.epoch:
                return connection
            connection.close()
        return None

    def close_idle(self, before: float = float("inf")) -> None:
        """Close the connections that have been idle since before that monotonic time."""
        while self.idle and self.idle[0].idle_since < before:
            self.idle.popleft().close()


class PooledConnection(asyncio.Protocol):
    """One connection to a replica process."""

    def __init__(self, pool: "Pool", lane: Lane) -> None:
        self._pool = pool
        self._lane = lane
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._head: AnswerHead | None = None
        self._read = bytearray()
        self.idle_since = 0.0
        self.epoch = lane.link.epoch

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = transport  # type: ignore[assignment]  # a socket's transport reads and writes

    def ask(self, head: bytes, body: list[bytes]) -> "asyncio.Future[Answer]":
        """Send a request. The answer is for the future, which fails with ReplicaGone; one at a time."""
        assert self._transport is not None  # noqa: S101  made by `Pool` with a transport
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self.connection_lost(None)
        else:
            self._transport.writelines([head, *body])
        return waiting

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer (asyncio.Protocol)."""
        if self._waiting is None or self._waiting.done():
            self.close()  # it speaks without being asked, or after we have stopped listening
            return
        read = self._read
        read += data
        if self._head is None and not self._begin(read):
            return
        head = self._head
        if head is not None and len(read) >= head.content_length:
            self._complete(head)

    def _begin(self, read: bytearray) -> bool:
        """The head, once it is there; False while it is not, or when it is none."""
        end = read.find(b"\r\n\r\n", 0, ANSWER_HEAD_BYTES)
        if end < 0:
            if len(read) >= ANSWER_HEAD_BYTES:
                self._fail("the head of the replica's answer is too long")
            return False
        try:
            self._head = self._pool.head(bytes(read[:end]))
        except (ValueError, KeyError) as error:
            self._fail(f"the replica's answer cannot be understood: {error}")
            return False
        del read[: end + 4]
        self._pool.held_bytes += self._head.content_length
        if self._pool.held_bytes > HELD_BYTES:
            self._fail("too many large answers are under way")
            return False
        return True

    def _complete(self, head: AnswerHead) -> None:
        waiting, body = self._waiting, bytes(self._read)
        surplus = len(body) > head.content_length
        self._reset()
        if waiting is None:
            return
        if surplus:
            waiting.set_exception(ReplicaGone("the replica's answer is longer than it says"))
            self.close()
            return
        waiting.set_result(Answer(head, body))
        if not head.keep or self._lane.link.epoch != self.epoch or not self._lane.link.usable:
            self.close()
            return
        self.idle_since = time.monotonic()
        self._lane.idle.append(self)

    def _reset(self) -> None:
        if self._head is not None:
            self._pool.held_bytes -= self._head.content_length
        self._head, self._waiting, self._read = None, None, bytearray()

    def _fail(self, message: str) -> None:
        waiting = self._waiting
        self._reset()
        if waiting is not None and not waiting.done():
            waiting.set_exception(ReplicaGone(message))
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol's signature
        """The replica closed it, or we did (asyncio.Protocol)."""
        if self in self._lane.idle:
            self._lane.idle.remove(self)
        self._fail("the replica ended while it worked on this call")

    def close(self) -> None:
        """Close at once; an answer under way is dropped."""
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """The connections to all replica processes. Everything runs in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.links = Links(
            loop,
            lambda _link, _reason, _unread, connection: connection.close(),
            lambda connection, _read: connection.close(),
            route_kind=packets.POOL_ROUTE,
            left=self._left,
        )
        self._lanes: dict[Link, Lane] = {}
        self._heads: dict[bytes, AnswerHead] = {}
        self.held_bytes = 0

    def head(self, raw: bytes) -> AnswerHead:
        """The parsed head; answers of one variant and shape have the same. Raises ValueError, KeyError."""
        found = self._heads.get(raw)
        if found is None:
            found = AnswerHead(raw)
            if len(self._heads) >= HEAD_CACHE_ENTRIES:
                self._heads.clear()
            self._heads[raw] = found
        return found

    async def ask(self, route: Route, head: bytes, body: list[bytes]) -> Answer:
        """One request to the least busy process of the route.

        Raises RequestError 503 where none is ready or it went away, 429 where too many wait. Cancelled, it lets go of
        the connection.
        """
        lane = self._choose(route)
        lane.busy += 1
        try:
            connection = lane.take() or await self._connect(lane)
            try:
                return await connection.ask(head, body)
            except asyncio.CancelledError:
                connection.close()
                raise
        finally:
            lane.busy -= 1

    def _choose(self, route: Route) -> Lane:
        usable = self.links.usable(route)
        if not usable:
            raise RequestError(503, "no replica of this endpoint is ready", (("retry-after", "2"),))
        lanes = [self._lanes.get(link) or self._lanes.setdefault(link, Lane(link)) for link in usable]
        lane = min(lanes, key=lambda each: each.busy)
        if lane.busy >= BUSY_LIMIT:
            raise RequestError(429, "too many calls wait for this endpoint", (("retry-after", "1"),))
        return lane

    async def _connect(self, lane: Lane) -> PooledConnection:
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            raise RequestError(503, "no descriptors left", (("retry-after", "2"),)) from None
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        ours.settimeout(0)
        line = lane.link.line
        assert line is not None  # noqa: S101  it is usable
        line.send(packets.POOLED, b"", theirs)
        connection = PooledConnection(self, lane)
        await self._loop.connect_accepted_socket(lambda: connection, ours)
        return connection

    def _left(self, link: Link) -> None:
        """Nothing new goes there; what is under way may end."""
        lane = self._lanes.get(link)
        if lane is not None:
            lane.close_idle()

    def tick(self, now: float) -> None:
        """Called each second with the monotonic time: find new processes, close what is idle, forget who has left."""
        self.links.reconcile()
        for link, lane in list(self._lanes.items()):
            lane.close_idle(now - IDLE_SECONDS if link.usable else now)
            if not link.usable and not lane.busy and not lane.idle and (link.line is None or link.line.closed):
                del self._lanes[link]

    def close(self) -> None:
        """Close every connection and line."""
        for lane in self._lanes.values():
            lane.close_idle()
        self.links.close()
