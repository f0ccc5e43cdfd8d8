"""Packets over a SOCK_SEQPACKET line between the gateway (or agent) and a replica process.

The protocol is described in the package docstring. `PacketLine` is one end of it inside an event loop.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

CONNECTION = b"C"
POOLED = b"P"
ROUTE = b"R"
POOL_ROUTE = b"r"
HELLO = b"H"
LOAD = b"L"
BACK = b"B"
DRAINING = b"D"
PIECE = b"p"

PIECE_BYTES = 60_000
PAYLOAD_LIMIT_BYTES = 64 * 1024 * 1024
PACKETS_PER_TURN = 64

Receive = Callable[["PacketLine", bytes, bytes, socket.socket | None], None]
"""Called with the line, kind, payload and the passed socket (the callee owns it)."""


def connect(path: Path) -> socket.socket:
    """Connect to a replica process's socket (non-blocking afterwards); raises OSError.

    Goes through a descriptor of the folder, because a Unix socket address holds only 107 bytes.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        line.settimeout(0)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            line.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError:
        line.close()
        raise
    return line


def split(kind: bytes, payload: bytes) -> list[bytes]:
    """The packets that carry `payload`: pieces first, the typed packet last."""
    cut = max(0, len(payload) - 1) // PIECE_BYTES * PIECE_BYTES
    pieces = [PIECE + payload[at : at + PIECE_BYTES] for at in range(0, cut, PIECE_BYTES)]
    return [*pieces, kind + payload[cut:]]


def _sockets(descriptors: list[int]) -> list[socket.socket]:
    """Descriptors that came as sockets; one that is none (a hostile peer may send any file) is closed."""
    found = []
    for descriptor in descriptors:
        try:
            found.append(socket.socket(fileno=descriptor))
        except OSError:
            os.close(descriptor)
    return found


class PacketLine:
    """One end of a line. Sends in order, waits where the peer is slow, and reports its end once."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        line: socket.socket,
        receive: Receive,
        lost: Callable[["PacketLine"], None],
    ) -> None:
        self._loop = loop
        self._line = line
        self._receive = receive
        self._lost = lost
        self._outbox: deque[tuple[bytes, socket.socket | None]] = deque()
        self._pieces = bytearray()
        self.closed = False
        line.settimeout(0)
        loop.add_reader(line.fileno(), self._readable)

    @property
    def backlog(self) -> int:
        """Packets that wait because the peer does not read."""
        return len(self._outbox)

    def send(self, kind: bytes, payload: bytes = b"", passed: socket.socket | None = None) -> None:
        """Send one payload; the line owns `passed` from here on and closes it once it is on its way."""
        if self.closed:
            raise BrokenPipeError("the line is closed")
        packets = split(kind, payload)
        waiting = bool(self._outbox)
        for packet in packets[:-1]:
            self._outbox.append((packet, None))
        self._outbox.append((packets[-1], passed))
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        while self._outbox:
            packet, passed = self._outbox[0]
            try:
                if passed is None:
                    self._line.send(packet)
                else:
                    socket.send_fds(self._line, [packet], [passed.fileno()])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._line.fileno(), self._writable)
                return
            except OSError:
                self._end()
                return
            self._outbox.popleft()
            if passed is not None:
                passed.close()

    def _writable(self) -> None:
        self._loop.remove_writer(self._line.fileno())
        self._flush()

    def _readable(self) -> None:
        for _ in range(PACKETS_PER_TURN):
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._line, PIECE_BYTES + 1, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet, descriptors = b"", []
            sockets = _sockets(descriptors)
            for extra in sockets[1:]:
                extra.close()
            if not packet:
                self._end()
                return
            self._packet(packet[:1], packet[1:], sockets[0] if sockets else None)
            if self.closed:
                return

    def _packet(self, kind: bytes, payload: bytes, passed: socket.socket | None) -> None:
        if kind == PIECE:
            self._pieces += payload
            if passed is not None:
                passed.close()
            if len(self._pieces) > PAYLOAD_LIMIT_BYTES:
                self._end()
            return
        if self._pieces:
            payload = bytes(self._pieces) + payload
            self._pieces = bytearray()
        self._receive(self, kind, payload, passed)

    def _end(self) -> None:
        if not self.closed:
            self.close()
            self._lost(self)

    def close(self) -> None:
        """Close without telling the owner; `unsent` then holds what never left."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._line.fileno())
            self._loop.remove_writer(self._line.fileno())
            self._line.close()

    def unsent(self) -> list[tuple[bytes, socket.socket]]:
        """Connections (bytes read, socket) that were to be passed and were not; the caller owns them."""
        pieces = b""
        found: list[tuple[bytes, socket.socket]] = []
        for packet, passed in self._outbox:
            if packet[:1] == PIECE:
                pieces += packet[1:]
                continue
            if passed is not None:
                found.append((pieces + packet[1:], passed))
            pieces = b""
        self._outbox.clear()
        return found
