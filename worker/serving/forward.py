"""One connection of a trusted proxy in the gateway (see `worker.serving.proxying`)."""

import asyncio
import time
from typing import TYPE_CHECKING

from worker.serving import answers
from worker.serving.chunks import ChunkedBody
from worker.serving.errors import RequestError
from worker.serving.head import Head, is_public, judge_method
from worker.serving.judging import bare, find_key, find_route, public_answer
from worker.serving.links import Link
from worker.serving.log import log
from worker.serving.pool import Upstream
from worker.serving.relay import Relay
from worker.serving.syntax import EMPTY_LINE, head_end

if TYPE_CHECKING:
    from worker.serving.proxying import Proxying

HELD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
PAUSE_SECONDS = 10.0
REQUEST_SECONDS = 120.0
UNREAD_SECONDS = 30.0
IDLE_SECONDS = 75.0
LINGER_SECONDS = 1.0
NO_REQUEST = {b"", EMPTY_LINE}


class Exchange:
    """One request under way.

    `left`: bytes of its body still to come, where it is not chunked. `keep`: the connection stays after the answer.
    """

    __slots__ = ("chunks", "forwarded", "head", "keep", "left", "link", "relay", "upstream")

    def __init__(self, head: Head, forwarded: bytes, link: Link, body_limit: int) -> None:
        self.head = head
        self.forwarded = forwarded
        self.link = link
        self.upstream: Upstream | None = None
        self.relay = Relay(head)
        self.left = head.content_length
        self.keep = False
        self.chunks = ChunkedBody(body_limit, keep=False) if head.chunked else None

    @property
    def sent(self) -> bool:
        """Whether the whole request has come."""
        return self.left == 0 if self.chunks is None else self.chunks.complete

    def body(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` is the body's, and what lies behind it; raises RequestError for malformed chunks."""
        if self.chunks is None:
            taken = data[: self.left]
            self.left -= len(taken)
            return taken, data[len(taken) :]
        rest = self.chunks.feed(data)
        return data[: len(data) - len(rest)], rest


class Front(asyncio.Protocol):
    """asyncio's side of it. `read`: bytes that came before the transport."""

    def __init__(self, gateway: "Proxying", read: bytes, peer: str) -> None:
        self._gateway = gateway
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._unread = read
        self._exchange: Exchange | None = None
        self._opening: asyncio.Task[Upstream] | None = None
        self._eof = False
        self._over = False
        self._skip = 0
        self._reading = True
        self._upstream_full = False
        self._blocked_at = 0.0
        self._linger_until = 0.0
        self._read_at = self._began_at = time.monotonic()

    # --- asyncio -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = transport  # type: ignore[assignment]  # a socket's transport reads and writes

    def begin(self) -> None:
        """The transport is there: look at what had been read."""
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Bytes from the proxy (asyncio.Protocol)."""
        if self._linger_until:
            return
        self._read_at = time.monotonic()
        if self._skip:  # what is left of a request that was refused
            skipped, data = data[: self._skip], data[self._skip :]
            self._skip -= len(skipped)
        if self._exchange is None and self._unread in NO_REQUEST:
            self._began_at = self._read_at
        self._unread += data
        self._advance()

    def eof_received(self) -> bool:
        """The proxy sends no more; what it asked for is still answered (asyncio.Protocol)."""
        self._eof = True
        self._advance()  # it may come before `begin`, with a request that waits
        return self._exchange is not None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol's signature
        """The connection is closed: nobody waits for the answer any more (asyncio.Protocol)."""
        self._over = True
        self._end_exchange(reusable=False)
        self._gateway.ended(self)

    def pause_writing(self) -> None:
        """The proxy does not read: take no more of the answer (asyncio.Protocol)."""
        self._blocked_at = time.monotonic()
        self._read_upstream(wanted=False)

    def resume_writing(self) -> None:
        """It reads again (asyncio.Protocol)."""
        self._blocked_at = 0.0
        self._read_upstream(wanted=True)

    def _read_upstream(self, *, wanted: bool) -> None:
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.read(wanted=wanted)

    # --- requests ----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Act on what has been read, request by request."""
        while not self._over and not self._linger_until:
            exchange = self._exchange
            try:
                if exchange is None:
                    if not self._next():
                        break
                elif exchange.upstream is None or exchange.sent or not self._forward(exchange, exchange.upstream):
                    break
            except RequestError as refusal:
                self._refuse(refusal, None if exchange is None else exchange.head)
        exchange = self._exchange
        if self._eof and exchange is not None and exchange.upstream is not None and not exchange.sent:
            self.abort()  # the rest of the body will not come
        self._pace()

    def _pace(self) -> None:
        """Read on only where what comes has a place to go."""
        transport = self._transport
        waits = self._exchange is not None and (self._exchange.upstream is None or self._exchange.sent)
        wanted = not self._upstream_full and not (waits and len(self._unread) > HELD_BYTES)
        if transport is None or self._over or self._eof or transport.is_closing() or wanted == self._reading:
            return
        self._reading = wanted
        (transport.resume_reading if wanted else transport.pause_reading)()

    def _next(self) -> bool:
        """Begin with the next request; False while its head is not there."""
        if not self._unread:
            if self._eof:
                self._close()
            return False
        end = head_end(self._unread)
        if end == 0:
            if self._eof:
                self._close()
            return False
        raw = self._unread[:end]
        head, forwarded = self._gateway.parsed(raw)
        try:
            self._unread = self._unread[end:]
            self._ask(head, forwarded, raw)
        except RequestError as refusal:
            self._refuse(refusal, head)
        return True

    def _ask(self, head: Head, forwarded: bytes, raw: bytes) -> None:
        table = self._gateway.table
        if is_public(head):
            keep = head.keep_alive and not head.has_body and not self._gateway.draining
            self._write(public_answer(table, head, keep_alive=keep), keep=keep)
            return
        try:
            key = find_key(table, head)
        except RequestError:
            self._gateway.count_refused(self._peer, raw)
            raise
        route = find_route(table, key, head)
        judge_method(head)
        if head.content_length > route.max_body_bytes:
            raise RequestError(413, f"the body may have {route.max_body_bytes} bytes")
        link = self._gateway.links.choose(route)
        link.busy += 1
        exchange = self._exchange = Exchange(head, forwarded, link, route.max_body_bytes)
        upstream = self._gateway.pool.take(link)
        if upstream is not None:
            self._send(exchange, upstream)
            return
        self._opening = self._gateway.loop.create_task(self._gateway.pool.open(link))
        self._opening.add_done_callback(lambda opened: self._opened(exchange, opened))

    def _opened(self, exchange: Exchange, opened: "asyncio.Task[Upstream]") -> None:
        self._opening = None
        if opened.cancelled():
            return
        if opened.exception() is not None:
            if exchange is self._exchange:
                self._refuse(RequestError(503, "the replica cannot be reached", (("retry-after", "1"),)), exchange.head)
        elif exchange is not self._exchange:
            self._gateway.pool.give(opened.result())
        else:
            try:
                self._send(exchange, opened.result())
            except RequestError as refusal:
                self._refuse(refusal, exchange.head)
            self._advance()

    def _send(self, exchange: Exchange, upstream: Upstream) -> None:
        """Send the head and what has come of the body, in one."""
        exchange.upstream = upstream
        upstream.owner = self
        taken, self._unread = exchange.body(self._unread)
        upstream.write(exchange.forwarded + taken)

    def _forward(self, exchange: Exchange, upstream: Upstream) -> bool:
        """Send on what has come of the body; False when there is nothing."""
        taken, self._unread = exchange.body(self._unread)
        if taken:
            upstream.write(taken)
        return exchange.sent

    # --- answers (pool.Owner) ----------------------------------------------------------------

    def upstream_full(self, *, full: bool) -> None:
        """The replica reads slower than the proxy sends, or no longer so."""
        self._upstream_full = full
        self._pace()

    def upstream_data(self, data: bytes) -> None:
        """Bytes of the answer."""
        exchange = self._exchange
        if exchange is None or self._over:
            return
        relay = exchange.relay
        if not relay.begun:
            exchange.keep = exchange.head.keep_alive and exchange.sent and not self._gateway.draining
        try:
            passed = relay.feed(data, keep_alive=exchange.keep)
        except ValueError as error:
            log("answer of a replica refused", replica_id=exchange.link.replica_id, error=str(error))
            self._lost(exchange)
            return
        if relay.complete:
            self._end_exchange(reusable=relay.reusable and exchange.sent)
            self._write(passed, keep=exchange.keep)
            self._began_at = time.monotonic()
            self._advance()
        elif passed and self._transport is not None:
            self._transport.write(passed)

    def upstream_lost(self) -> None:
        """The connection to the replica ended before its answer did."""
        if self._exchange is not None:
            self._lost(self._exchange)

    def _lost(self, exchange: Exchange) -> None:
        if exchange.relay.begun:
            self._end_exchange(reusable=False)
            self.abort()
        else:
            refusal = RequestError(502, "the replica ended while it had this request", (("retry-after", "1"),))
            self._refuse(refusal, exchange.head)

    def _end_exchange(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        self._upstream_full = False
        if exchange is None:
            return
        exchange.link.busy -= 1
        upstream = exchange.upstream
        if upstream is not None:
            upstream.read(wanted=True)
            if reusable:
                self._gateway.pool.give(upstream)
            else:
                upstream.drop()

    def _refuse(self, refusal: RequestError, head: Head | None) -> None:
        """Answer by ourselves. The connection stays where what is to come of the request is known, and not much."""
        exchange = self._exchange
        left = 0 if head is None else head.content_length
        if exchange is not None:
            left = exchange.left
            if exchange.relay.begun:
                self._end_exchange(reusable=False)
                self.abort()
                return
        self._end_exchange(reusable=False)
        missing = max(0, left - len(self._unread))
        keep = head is not None and head.keep_alive and not head.chunked and not self._gateway.draining
        keep = keep and missing <= (0 if head is None or head.expect_continue else HELD_BYTES)
        if keep:
            self._unread, self._skip = self._unread[left:], missing
        old_http = head is not None and head.old_http
        invocation = head is not None and head.kind == "invocations"
        data = answers.refusal(refusal, invocation=invocation, keep_alive=keep, old_http=old_http)
        self._write(bare(data, head), keep=keep)

    # --- the end -----------------------------------------------------------------------------

    def _write(self, data: bytes, *, keep: bool) -> None:
        transport = self._transport
        if transport is None or self._over:
            return
        transport.write(data)
        if not keep:
            self._close()

    def _close(self) -> None:
        """Our end first, and a moment for what still comes: closing at once could cut the answer off."""
        transport = self._transport
        self._linger_until = time.monotonic() + LINGER_SECONDS
        self._unread = b""
        if transport is None or transport.is_closing():
            return
        if self._eof:
            transport.close()
            return
        transport.write_eof()
        self._pace()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """The gateway ends: go now, or after the answer that is under way."""
        if self._exchange is None and self._transport is not None:
            self._transport.close()

    def tick(self, now: float) -> None:
        """Called twice a second with the monotonic time: end what takes too long."""
        if self._over or self._transport is None:
            return
        if self._linger_until or self._blocked_at:
            if now > max(self._linger_until, self._blocked_at and self._blocked_at + UNREAD_SECONDS):
                self.abort()
        elif self._request_is_slow(now):
            self._refuse(RequestError(408, "the request did not arrive in time"), None)
        elif self._exchange is None and now - self._read_at > IDLE_SECONDS:
            self._transport.close()

    def _request_is_slow(self, now: float) -> bool:
        """Whether the proxy, and not the replica, keeps a request waiting for too long."""
        if self._exchange is None:
            return self._unread not in NO_REQUEST and now - self._began_at > HEAD_SECONDS
        if self._exchange.sent or not self._reading:
            return False
        return now - self._read_at > PAUSE_SECONDS or now - self._began_at > REQUEST_SECONDS
