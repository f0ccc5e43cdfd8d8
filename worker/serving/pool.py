"""The gateway's own connections to replica processes, for requests that cannot bring their socket along.

Each is one end of a Unix socket pair whose other end the process adopted (`P`). It carries one request at a time, only
ever of the one endpoint whose process it is, and goes back to the pool once that request is wholly sent and wholly
answered. A change of the route (new keys, new weights) makes the connections opened before it stale: a new one's
packet stands behind the route's on the same line, so that no request overtakes the key it needs.
"""

import asyncio
import socket
import time
from typing import Protocol

from worker.serving.links import Link

POOL_IDLE_SECONDS = 30.0
"""Less than a replica's own limit, so that it is not the replica that closes."""


class Owner(Protocol):
    """Who has a request under way on an upstream connection."""

    def upstream_data(self, data: bytes) -> None:
        """Bytes of the answer."""

    def upstream_lost(self) -> None:
        """The connection ended."""

    def upstream_full(self, *, full: bool) -> None:
        """The process reads slower than it is sent to, or no longer so."""


class Upstream(asyncio.Protocol):
    """One connection to a replica process."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.epoch = link.epoch
        self.owner: Owner | None = None
        self.idle_since = 0.0
        self.lost = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio.Protocol)."""
        self._transport = transport  # type: ignore[assignment]  # a socket's transport reads and writes

    def data_received(self, data: bytes) -> None:
        """Bytes from the process; what nobody asked for ends the connection (asyncio.Protocol)."""
        if self.owner is None:
            self.drop()
        else:
            self.owner.upstream_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio.Protocol's signature
        """The process or we closed it (asyncio.Protocol)."""
        self.lost = True
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.upstream_lost()

    def pause_writing(self) -> None:
        """The process is slower than its client (asyncio.Protocol)."""
        if self.owner is not None:
            self.owner.upstream_full(full=True)

    def resume_writing(self) -> None:
        """It has caught up (asyncio.Protocol)."""
        if self.owner is not None:
            self.owner.upstream_full(full=False)

    def write(self, data: bytes) -> None:
        """Send bytes of a request."""
        if self._transport is not None and not self.lost:
            self._transport.write(data)

    def read(self, *, wanted: bool) -> None:
        """Go on or stop taking the answer."""
        transport = self._transport
        if transport is not None and not self.lost and not transport.is_closing():
            (transport.resume_reading if wanted else transport.pause_reading)()

    def drop(self) -> None:
        """End it, whatever is under way; its owner is not told."""
        self.owner = None
        self.lost = True
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """Idle connections by process, the one used last on top."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: dict[Link, list[Upstream]] = {}

    def take(self, link: Link) -> Upstream | None:
        """A connection that is there already."""
        idle = self._idle.get(link)
        while idle:
            upstream = idle.pop()
            if _usable(upstream):
                return upstream
            upstream.drop()
        return None

    async def open(self, link: Link) -> Upstream:
        """A new connection; raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            ours.settimeout(0)
            link.adopt(theirs)
            _, upstream = await self._loop.create_connection(lambda: Upstream(link), sock=ours)
        except BaseException:
            ours.close()
            raise
        return upstream

    def give(self, upstream: Upstream) -> None:
        """Keep a connection whose answer has ended for the next request."""
        upstream.owner = None
        if not _usable(upstream):
            upstream.drop()
            return
        upstream.idle_since = time.monotonic()
        self._idle.setdefault(upstream.link, []).append(upstream)

    def tick(self, now: float) -> None:
        """Called twice a second with the monotonic time: let go of what is old, stale or of a process that leaves."""
        for link, idle in list(self._idle.items()):
            keep = [each for each in idle if _usable(each) and now - each.idle_since < POOL_IDLE_SECONDS]
            for upstream in set(idle).difference(keep):
                upstream.drop()
            if keep:
                self._idle[link] = keep
            else:
                del self._idle[link]

    def close(self) -> None:
        """End every idle connection."""
        for idle in self._idle.values():
            for upstream in idle:
                upstream.drop()
        self._idle.clear()


def _usable(upstream: Upstream) -> bool:
    link = upstream.link
    return not upstream.lost and upstream.epoch == link.epoch and not link.retired
