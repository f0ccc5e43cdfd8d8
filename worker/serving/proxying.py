"""Connections of trusted proxies: request by request, each to the endpoint of its own key.

A proxy puts requests of many clients, so of many organizations, on one connection, which therefore can belong to no
replica. The gateway reads each request's head, finds key and endpoint as for a first request anywhere, and sends the
request over a connection of its pool (`worker.serving.pool`) to one process of that endpoint; body and answer pass
through as they come, at the pace of the slower side. Requests are answered one after another.
"""

import asyncio
import socket
import time
from typing import NamedTuple

from worker.serving.forward import Front
from worker.serving.head import Head, parse_head
from worker.serving.links import Links
from worker.serving.log import log
from worker.serving.peers import TrustedProxies
from worker.serving.pool import Pool
from worker.serving.refused import RefusedKeys
from worker.serving.relay import forwarded_head
from worker.serving.syntax import read_request
from worker.serving.table import RoutingTable

HEAD_CACHE_ENTRIES = 512
HEAD_CACHE_BYTES = 1024


class Parsed(NamedTuple):
    """A head, and as it is sent on."""

    head: Head
    forwarded: bytes


class Proxying:
    """All connections of trusted proxies, and what they share."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, links: Links, trusted: TrustedProxies, refused: RefusedKeys
    ) -> None:
        self.loop = loop
        self.links = links
        self.pool = Pool(loop)
        self.table = RoutingTable(None)
        self.draining = False
        self._trusted = trusted
        self._refused = refused
        self._fronts: set[Front] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._heads: dict[bytes, Parsed] = {}

    @property
    def descriptors(self) -> int:
        """Descriptors that the connections may need: each its own, and one to a replica."""
        return 2 * len(self._fronts)

    def adopt(self, connection: socket.socket, read: bytes, peer: str) -> None:
        """Serve a connection of which `read` has been read; it is no longer the caller's."""
        front = Front(self, read, peer)
        self._fronts.add(front)
        task = self.loop.create_task(self._begin(front, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, front: Front, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self.loop.connect_accepted_socket(lambda: front, connection)
        except OSError as error:
            self._fronts.discard(front)
            connection.close()
            log("a proxy's connection could not be served", error=str(error))
            return
        front.begin()

    def parsed(self, raw: bytes) -> Parsed:
        """A head, from the cache where it has been seen; raises RequestError."""
        found = self._heads.get(raw)
        if found is None:
            request = read_request(raw)
            head = parse_head(raw)
            found = Parsed(head, forwarded_head(head, request.target, request.fields))
            if len(raw) <= HEAD_CACHE_BYTES:
                if len(self._heads) >= HEAD_CACHE_ENTRIES:
                    self._heads.clear()
                self._heads[raw] = found
        return found

    def count_refused(self, peer: str, raw: bytes) -> None:
        """A request came without a valid key."""
        self._refused.count(self._trusted.client(peer, read_request(raw).fields))

    def ended(self, front: Front) -> None:
        """A connection is no more."""
        self._fronts.discard(front)

    def tick(self, now: float) -> None:
        """Called twice a second with the monotonic time: end what takes too long."""
        for front in list(self._fronts):
            front.tick(now)
        self.pool.tick(now)

    async def drain(self, seconds: float) -> None:
        """Answer what has been asked, for at most `seconds`; take nothing more."""
        self.draining = True
        for front in list(self._fronts):
            front.drain()
        end = time.monotonic() + seconds
        while self._fronts and time.monotonic() < end:  # noqa: ASYNC110  polled: its causes are many, and it ends once
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """End every connection."""
        for front in list(self._fronts):
            front.abort()
        self.pool.close()
