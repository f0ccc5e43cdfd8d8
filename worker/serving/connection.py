"""One client connection inside a replica process: framing, order of answers, and its end.

Bytes become requests one by one: head, then body by Content-Length or chunks. Several requests may wait
for their answers (pipelining); answers leave in the order of the requests. A connection that has
to go back to the gateway stops reading at the exact byte where the foreign request begins, lets its
earlier answers leave, and is then passed on with the bytes not consumed.
"""

import asyncio
import os
import socket
import time
from collections import deque
from typing import Protocol

from worker.serving import answers
from worker.serving.chunks import ChunkedBody
from worker.serving.errors import GiveBackError, RequestError
from worker.serving.head import Head, parse_head
from worker.serving.syntax import EMPTY_LINE, HEAD_END, head_end

PIPELINE_LIMIT = 64
HEAD_CACHE_ENTRIES = 512
HEAD_CACHE_BYTES = 1024
IDLE_SECONDS = 75.0
PAUSE_SECONDS = 10.0
HEAD_SECONDS = 10.0
REQUEST_SECONDS = 120.0
UNREAD_SECONDS = 30.0
LINGER_SECONDS = 1.0
NO_REQUEST = {b"", EMPTY_LINE}


class Server(Protocol):
    """What a connection needs of its replica process."""

    heads: dict[bytes, Head]
    draining: bool

    def admit(self, head: Head, *, from_gateway: bool) -> str:
        """Judge a head before its body; answers the key id, raises RequestError (also GiveBackError)."""

    def body_limit(self) -> int:
        """Largest accepted body in bytes."""

    def handle(self, head: Head, key_id: str, body: bytes, slot: "Slot") -> None:
        """Answer a whole request, now or later, by `slot.deliver`."""

    def refused(self, head: Head, key_id: str) -> None:
        """A request with this key was refused before it could be handled."""

    def give_back(self, passed: socket.socket, reason: bytes, unread: bytes) -> None:
        """Pass the socket on to the gateway."""

    def ended(self, connection: "Connection") -> None:
        """The connection is no more (closed or given back)."""


class Slot:
    """The place of one answer in the order of a connection's answers."""

    __slots__ = ("_connection", "bare", "data", "last", "line")

    def __init__(self, connection: "Connection", *, last: bool, line: bytes, bare: bool) -> None:
        self._connection = connection
        self.data: bytes | None = None
        self.last = last
        self.line = line
        self.bare = bare

    def deliver(self, data: bytes) -> None:
        """The answer's bytes; they leave when it is their turn, without the body where HEAD asked."""
        self.data = data[: data.index(HEAD_END) + len(HEAD_END)] if self.bare else data
        self._connection.flush()


class Connection(asyncio.Protocol):
    """asyncio's side of one connection.

    `pooled`: it is a gateway's own, which sends the requests of many clients over it and ends it.

    `read`: bytes that came before the transport; they stand first, even where the transport reads more before
    `begin` is called. `from_gateway`: the connection may go back there (a probe may not).
    """

    def __init__(self, server: Server, read: bytes, *, from_gateway: bool, pooled: bool = False) -> None:
        self._server = server
        self.from_gateway = from_gateway
        self._pooled = pooled
        self._transport: asyncio.Transport | None = None
        self._unread = read
        self._head: Head | None = None
        self._key_id = ""
        self._invocation = False
        self._body = bytearray()
        self._missing = 0
        self._chunks: ChunkedBody | None = None
        self._slots: deque[Slot] = deque()
        self._no_more = False
        self._eof = False
        self._going_back = b""
        self._reading = True
        self._advancing = False
        self._refused = False
        self._bare = False
        self._over = False
        now = time.monotonic()
        self._read_at = self._began_at = now
        self._blocked_at = 0.0
        self._linger_until = 0.0

    # --- asyncio -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = transport  # type: ignore[assignment]  # a socket's transport reads and writes

    def begin(self) -> None:
        """The transport is there: look at what had been read."""
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client (asyncio.Protocol)."""
        if self._linger_until:
            return
        self._read_at = time.monotonic()
        if self._head is not None and self._chunks is None:
            self._collect(data)
            return
        if self._unread:
            self._unread += data
        else:
            if self._head is None:
                self._began_at = self._read_at
            self._unread = data
        self._advance()

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for is still answered (asyncio.Protocol)."""
        self._eof = True
        if self._linger_until:
            return False
        self._advance()  # it may come before `begin`, with a request that waits
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol's signature
        """The connection is closed (asyncio.Protocol)."""
        self._over = True
        self._server.ended(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it (asyncio.Protocol)."""
        self._blocked_at = time.monotonic()
        self._set_reading(wanted=False)

    def resume_writing(self) -> None:
        """It reads again (asyncio.Protocol)."""
        self._blocked_at = 0.0
        self._resume()

    # --- requests ----------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._unread and not self._over and not self._no_more and self._reading:
                if len(self._slots) >= PIPELINE_LIMIT:
                    self._set_reading(wanted=False)
                    break
                if not self._step():
                    break
        except GiveBackError as refusal:
            self._going_back = refusal.reason
            self._set_reading(wanted=False)
        except RequestError as refusal:
            self._refuse(refusal)
        self._advancing = False
        self._finish_if_done()

    def _step(self) -> bool:
        """Consume a head, or what a chunked body has; False when more bytes are needed."""
        if self._chunks is not None:
            self._unread = self._chunks.feed(self._unread)
            if not self._chunks.complete:
                return False
            self._complete(bytes(self._chunks.body))
            return True
        end = head_end(self._unread)
        if end == 0:
            return False
        self._bare = self._invocation = False
        head = self._parsed(self._unread[:end])
        self._invocation = head.kind == "invocations"
        self._bare = head.method == "HEAD"
        self._key_id = self._server.admit(head, from_gateway=self.from_gateway)
        self._head = head
        return self._begin_body(head, end)

    def _parsed(self, raw: bytes) -> Head:
        heads = self._server.heads
        head = heads.get(raw)
        if head is None:
            head = parse_head(raw)
            if len(raw) <= HEAD_CACHE_BYTES:
                if len(heads) >= HEAD_CACHE_ENTRIES:
                    heads.clear()
                heads[raw] = head
        return head

    def _begin_body(self, head: Head, start: int) -> bool:
        if head.content_length > self._server.body_limit():
            raise RequestError(413, f"the body may have {self._server.body_limit()} bytes")
        end = start + head.content_length
        data = self._unread
        if not head.chunked and len(data) >= end:
            self._unread = data[end:]
            self._complete(data[start:end])
            return True
        if head.expect_continue and not self._slots and self._transport is not None:
            self._transport.write(answers.CONTINUE)
        if head.chunked:
            self._unread = data[start:]
            self._chunks = ChunkedBody(self._server.body_limit())
            return True
        self._unread = b""
        self._body = bytearray(data[start:])
        self._missing = end - len(data)
        return False

    def _collect(self, data: bytes) -> None:
        """More of a body of known length."""
        taken = data[: self._missing]
        self._body += taken
        self._missing -= len(taken)
        if self._missing == 0:
            body, self._body = bytes(self._body), bytearray()
            self._unread = data[len(taken) :]
            self._complete(body)
            self._advance()

    def _complete(self, body: bytes) -> None:
        head, self._head, self._chunks = self._head, None, None
        assert head is not None  # noqa: S101  only called between a head and the next
        keep = head.keep_alive and (self.from_gateway or not self._server.draining)
        if not keep:
            self._no_more = True
        line = answers.connection_header(keep_alive=keep, old_http=head.old_http)
        slot = Slot(self, last=not keep, line=line, bare=self._bare)
        self._slots.append(slot)
        self._server.handle(head, self._key_id, body, slot)
        self._began_at = self._read_at

    def _refuse(self, refusal: RequestError) -> None:
        """Answer a request that was refused before its end; nothing after it can be understood."""
        if self._head is not None:
            self._server.refused(self._head, self._key_id)
        self._head, self._chunks, self._unread = None, None, b""
        self._no_more = self._refused = True
        slot = Slot(self, last=True, line=answers.CLOSE, bare=self._bare)
        self._slots.append(slot)
        slot.deliver(answers.refusal(refusal, invocation=self._invocation, keep_alive=False))

    # --- answers -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Let the answers leave whose turn it is."""
        transport = self._transport
        if self._over or transport is None or transport.is_closing():
            return
        slots = self._slots
        while slots:
            slot = slots[0]
            if slot.data is None:
                return
            slots.popleft()
            transport.write(slot.data)
            if slot.last:
                self._close()
                return
        self._resume()
        self._finish_if_done()

    def _resume(self) -> None:
        if not (self._reading or self._going_back or self._blocked_at or self._advancing):
            self._set_reading(wanted=True)
            self._advance()

    def _set_reading(self, *, wanted: bool) -> None:
        transport = self._transport
        if wanted == self._reading or transport is None or transport.is_closing():
            return
        self._reading = wanted
        if not self._eof:
            (transport.resume_reading if wanted else transport.pause_reading)()

    # --- the end -----------------------------------------------------------------------------

    def _finish_if_done(self) -> None:
        transport = self._transport
        if self._over or self._slots or self._advancing or self._linger_until:
            return
        if transport is None or transport.is_closing():
            return
        if self._going_back:
            self._give_back()
        elif self._no_more or self._eof:
            transport.close()
        elif self._server.draining and self._head is None and self._unread in NO_REQUEST and not self._pooled:
            self._going_back = b"i"
            self._give_back()

    def _give_back(self) -> None:
        transport = self._transport
        assert transport is not None  # noqa: S101  asked by the caller
        if not self.from_gateway:
            transport.close()
            return
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(0.01, self._finish_if_done)
            return
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        self._over = True
        transport.abort()
        self._server.give_back(socket.socket(fileno=descriptor), self._going_back, self._unread)

    def _close(self) -> None:
        """Close after the last answer.

        After a refusal the client may still be sending; closing at once would reset the connection
        before it has read why. So our end first (FIN), and a moment for what still comes.
        """
        transport = self._transport
        assert transport is not None  # noqa: S101  asked by the caller
        if self._eof or not self._refused:
            transport.close()
            return
        self._linger_until = time.monotonic() + LINGER_SECONDS
        self._slots.clear()
        transport.write_eof()
        self._set_reading(wanted=True)

    def drain(self) -> None:
        """The process ends: go as soon as nothing is under way."""
        self._finish_if_done()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _end_unread(self, transport: asyncio.Transport, now: float) -> None:
        """A client that does not read what is left for it must not hold its descriptor for ever."""
        if not self._slots and now - self._read_at > IDLE_SECONDS + UNREAD_SECONDS:
            transport.abort()

    def tick(self, now: float) -> None:
        """Called each second: end what takes too long."""
        transport = self._transport
        if self._over or transport is None:
            return
        if transport.is_closing() or self._going_back:
            self._end_unread(transport, now)
        else:
            self._end_slow(transport, now)

    def _end_slow(self, transport: asyncio.Transport, now: float) -> None:
        if self._linger_until:
            if now > self._linger_until:
                transport.abort()
        elif self._blocked_at:
            if now - self._blocked_at > UNREAD_SECONDS:
                transport.abort()
        elif self._slots:
            return
        elif self._head is not None or self._unread not in NO_REQUEST:
            limit = HEAD_SECONDS if self._head is None else REQUEST_SECONDS
            if now - self._read_at > PAUSE_SECONDS or now - self._began_at > limit:
                self._refuse(RequestError(408, "the request did not arrive in time"))
        elif now - self._read_at > IDLE_SECONDS:
            transport.close()
