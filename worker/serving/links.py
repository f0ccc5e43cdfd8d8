"""The gateway's lines to replica processes: connect, say the route, place connections evenly, notice the end.

A link is usable once its process has said hello with the replica id that the table expects. A replica that
leaves the table gets no more connections; it is told to forget the keys when its endpoint is gone, so
that what it still holds comes back.

A replica is a tenant's process: its sockets, its packets and what it gives back are bounded, so that it can cost the
gateway, which all tenants share, neither descriptors nor memory nor places to wait.
"""

import asyncio
import contextlib
import itertools
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from backend.core.wire import ReplicaHello, ReplicaRoute, Route
from worker.serving import packets
from worker.serving.errors import RequestError
from worker.serving.log import log
from worker.serving.packets import PacketLine
from worker.serving.table import RoutingTable

BACKLOG_PACKETS = 1024
PROCESSES_PER_REPLICA = 64
ENTRIES_READ = 256
_SOCKET_NAME = re.compile(r"replica-\d{1,3}\.sock")

Return = Callable[["Link", bytes, bytes, socket.socket], None]
"""Called with a connection that came back: link, reason, unread bytes, socket (now the callee's)."""
Replace = Callable[[socket.socket, bytes], None]
"""Called with a connection that could not be handed over, and the bytes read from it."""
Leave = Callable[["Link"], None]
"""Called with a link that gets nothing more: its process drains or is gone, or its replica left the table."""


class Link:
    """One replica process. `open`: connections it holds, as far as the gateway can know.

    `busy`: requests of pooled connections under way there. `epoch` grows with every route it is told.
    """

    def __init__(self, path: Path, replica_id: str, route: Route) -> None:
        self.path = path
        self.replica_id = replica_id
        self.route = route
        self.line: PacketLine | None = None
        self.greeted = False
        self.retired = False
        self.draining = False
        self.told: ReplicaRoute | None = None
        self.placed = 0
        self.busy = 0
        self.epoch = 0
        self.connection_limit = 0
        self._adopted = 0
        self._held = 0

    @property
    def usable(self) -> bool:
        """Whether connections may be placed here now."""
        line = self.line
        return (
            self.greeted
            and not self.retired
            and line is not None
            and not line.closed
            and line.backlog < BACKLOG_PACKETS
        )

    @property
    def full(self) -> bool:
        """Whether the process holds as many connections as it has descriptors for."""
        return 0 < self.connection_limit <= self.open

    @property
    def open(self) -> int:
        """Connections held there plus those on their way."""
        return self._held + self.placed - self._adopted

    def adopt(self, passed: socket.socket) -> None:
        """Pass one end of a socket pair for the gateway's pool; it is no longer the caller's. Raises OSError."""
        if self.line is None or self.line.closed:
            passed.close()
            raise BrokenPipeError("the replica process is gone")
        self.placed += 1
        self.line.send(packets.POOLED, b"", passed)

    def load(self, payload: bytes) -> None:
        """Take a load report in."""
        with contextlib.suppress(ValueError):
            self._adopted, self._held = map(int, payload.split())


class Links:
    """All links of a gateway, kept in step with the table.

    `route_kind`: `packets.POOL_ROUTE` for a gateway that takes no connections back. `left` is told of links whose
    connections should come to an end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        came_back: Return,
        replace: Replace,
        *,
        route_kind: bytes = packets.ROUTE,
        left: Leave | None = None,
    ) -> None:
        self._loop = loop
        self._came_back = came_back
        self._replace = replace
        self._route_kind = route_kind
        self._left = left
        self._table = RoutingTable(None)
        self._links: dict[Path, Link] = {}
        self._of: dict[tuple[str, str], list[Link]] = {}
        self._turn = 0

    def apply(self, table: RoutingTable) -> None:
        """Follow a new table: retire, connect, and tell everybody what changed for them."""
        self._table = table
        expected = {
            Path(replica.socket_path).parent: (replica.replica_id, route)
            for route in table.routes.values()
            for replica in route.replicas
        }
        for path, link in self._links.items():
            found = expected.get(path.parent)
            link.retired = found is None or found[0] != link.replica_id
            if found is not None and not link.retired:
                link.route = found[1]
            if link.retired and self._left is not None:
                self._left(link)
        self.reconcile()
        for link in list(self._links.values()):
            self._tell(link)

    def reconcile(self) -> None:
        """Connect to processes that have appeared. Called with each table and each second."""
        for route in self._table.routes.values():
            for replica in route.replicas:
                for path in _sockets(Path(replica.socket_path).parent):
                    if path not in self._links:
                        self._connect(Link(path, replica.replica_id, route))

    def _connect(self, link: Link) -> None:
        try:
            line = packets.connect(link.path)
        except OSError:
            return  # not there yet, or dying; tried again in a second
        link.line = PacketLine(
            self._loop,
            line,
            lambda _, kind, payload, passed: self._packet(link, kind, payload, passed),
            lambda _: self._lost(link),
        )
        self._links[link.path] = link

    def _packet(self, link: Link, kind: bytes, payload: bytes, passed: socket.socket | None) -> None:
        if kind == packets.BACK and passed is not None:
            self._came_back(link, payload[:1], payload[1:], passed)
            return
        if passed is not None:
            passed.close()
        if kind == packets.HELLO:
            self._hello(link, payload)
        elif kind == packets.LOAD:
            link.load(payload)
        elif kind == packets.DRAINING and link.line is not None and not link.draining:
            link.draining = True
            self._withdraw(link)
            link.line.send(packets.DRAINING)

    def _hello(self, link: Link, payload: bytes) -> None:
        if link.greeted:
            return
        try:
            hello = msgspec.json.decode(payload, type=ReplicaHello)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            hello = None
        if hello is None or hello.replica_id != link.replica_id:
            log("a socket belongs to another replica", path=str(link.path), replica_id=link.replica_id)
            self._drop(link)
            return
        link.greeted = True
        link.connection_limit = hello.connection_limit
        self._of.setdefault(_address(link.route), []).append(link)
        self._tell(link)
        log("replica process linked", replica_id=link.replica_id, process=hello.process, pid=hello.pid)

    def _tell(self, link: Link) -> None:
        if not link.greeted or link.line is None or link.line.closed:
            return
        current = self._table.routes.get(_address(link.route))
        route = current or link.route
        told = self._table.replica_route(route)
        if current is None:
            told = msgspec.structs.replace(told, keys=[])
        if link.told is None or told != msgspec.structs.replace(link.told, version=told.version):
            link.told = told
            link.epoch += 1
            link.line.send(self._route_kind, msgspec.json.encode(told))

    def _withdraw(self, link: Link) -> None:
        link.retired = True
        links = self._of.get(_address(link.route), [])
        if link in links:
            links.remove(link)
        if self._left is not None:
            self._left(link)

    def _lost(self, link: Link) -> None:
        self._withdraw(link)
        if self._links.get(link.path) is link:
            del self._links[link.path]
        log("replica process gone", replica_id=link.replica_id, path=str(link.path))
        if link.line is not None:
            for read, connection in link.line.unsent():
                self._replace(connection, read)

    def _drop(self, link: Link) -> None:
        if link.line is not None:
            link.line.close()
        self._links.pop(link.path, None)

    def place(self, route: Route, connection: socket.socket, read: bytes) -> None:
        """Hand a connection to the least loaded process of the route; it is then no longer the caller's.

        Raises RequestError 503 when no process can take it.
        """
        link = min(self._candidates(route), key=lambda each: each.open)
        assert link.line is not None  # noqa: S101  it is usable
        link.placed += 1
        link.line.send(packets.CONNECTION, read, connection)

    def choose(self, route: Route) -> Link:
        """The process of the route with the fewest requests of the pool under way; raises RequestError 503."""
        return min(self._candidates(route), key=lambda each: each.busy)

    def _candidates(self, route: Route) -> list[Link]:
        """The processes that can take a connection, in turn, so that the first of equals is another one each time."""
        usable = self.usable(route)
        if not usable:
            raise RequestError(503, "no replica of this endpoint is ready", (("retry-after", "2"),))
        free = [link for link in usable if not link.full]
        if not free:
            raise RequestError(503, "this endpoint holds as many connections as it may", (("retry-after", "1"),))
        self._turn += 1
        start = self._turn % len(free)
        return free[start:] + free[:start]

    def usable(self, route: Route) -> list[Link]:
        """The processes of the route that may get connections now."""
        return [link for link in self._of.get(_address(route), ()) if link.usable]

    def counts(self, route: Route) -> int:
        """How many usable processes the route has."""
        return len(self.usable(route))

    def close(self) -> None:
        """Close every line; the replicas keep what they hold."""
        for link in list(self._links.values()):
            self._drop(link)


def _address(route: Route) -> tuple[str, str]:
    return route.organization_id, route.endpoint_name


def _sockets(folder: Path) -> list[Path]:
    """The sockets of a replica's processes. The folder is its own: what else it puts there only hides its sockets."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, ENTRIES_READ)]
    except OSError:
        return []
    found = [folder / name for name in sorted(names) if _SOCKET_NAME.fullmatch(name)]
    return list(filter(_is_socket, found))[:PROCESSES_PER_REPLICA]


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)  # a link would lead out of the replica's folder
    except OSError:
        return False
