"""How connections come to a replica process and go back: its socket, and its lines to gateway and agent."""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from backend.core.wire import ReplicaHello, ReplicaRoute, ReplicaSpec
from worker.serving import packets
from worker.serving.connection import Connection
from worker.serving.limits import connection_limit
from worker.serving.log import log
from worker.serving.packets import PacketLine

BACKLOG = 64
LOAD_REPORT_SECONDS = 0.02
ACKNOWLEDGE_SECONDS = 1.0
INTERNET = {socket.AF_INET, socket.AF_INET6}


class Peer:
    """Who is at the other end of a line.

    It is a gateway once it has sent a route (R), or one that only pools (r) and takes no connection back.
    """

    __slots__ = ("acknowledged", "adopted", "is_gateway", "only_pools")

    def __init__(self) -> None:
        self.adopted = 0
        self.is_gateway = False
        self.only_pools = False
        self.acknowledged = False


class Adoption:
    """Owns the listening socket, the lines and the connections of one process."""

    def __init__(
        self,
        spec: ReplicaSpec,
        number: int,
        connect: Callable[[bytes, bool, bool], Connection],
        take_route: Callable[[ReplicaRoute, bool], None],
    ) -> None:
        self._spec = spec
        self._number = number
        self._connect = connect
        self._take_route = take_route
        self._loop = asyncio.get_running_loop()
        self._peers: dict[PacketLine, Peer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._load_scheduled = False
        self.connections: set[Connection] = set()
        self.draining = False

    @property
    def path(self) -> Path:
        """The socket's path, relative to the replica's folder, which must be the current one."""
        return Path("run") / f"replica-{self._number}.sock"

    def listen(self) -> None:
        """Show the socket: from here on the process is ready.

        It gets its name only when it listens, so whoever sees it can connect.
        """
        unnamed = self.path.with_suffix(".new")
        unnamed.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(unnamed))
        unnamed.chmod(0o660)
        self._listener.listen(BACKLOG)
        self._listener.settimeout(0)
        unnamed.rename(self.path)
        self._loop.add_reader(self._listener.fileno(), self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        line = PacketLine(self._loop, accepted, self._packet, self._line_lost)
        self._peers[line] = Peer()
        hello = ReplicaHello(
            replica_id=self._spec.replica_id,
            endpoint_id=self._spec.endpoint_id,
            endpoint_name=self._spec.endpoint_name,
            process=self._number,
            pid=os.getpid(),
            connection_limit=connection_limit(),
        )
        line.send(packets.HELLO, msgspec.json.encode(hello))

    def _line_lost(self, line: PacketLine) -> None:
        self._peers.pop(line, None)
        for _, passed in line.unsent():
            passed.close()

    def _packet(self, line: PacketLine, kind: bytes, payload: bytes, passed: socket.socket | None) -> None:
        peer = self._peers[line]
        if kind in {packets.CONNECTION, packets.POOLED}:
            peer.adopted += 1
            if passed is None:
                log("a connection was lost on its way: no descriptors left", held=len(self.connections))
                return
            task = self._loop.create_task(self._adopt(passed, payload, pooled=kind == packets.POOLED))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if passed is not None:
            passed.close()
        if kind in {packets.ROUTE, packets.POOL_ROUTE}:
            self._route(peer, kind, payload)
        elif kind == packets.DRAINING:
            peer.acknowledged = True

    def _route(self, peer: Peer, kind: bytes, payload: bytes) -> None:
        try:
            route = msgspec.json.decode(payload, type=ReplicaRoute)
        except msgspec.DecodeError as error:
            log("route refused", error=str(error))
            return
        peer.only_pools = kind == packets.POOL_ROUTE
        peer.is_gateway = not peer.only_pools
        self._take_route(route, peer.only_pools)
        self.report_load()

    async def _adopt(self, passed: socket.socket, read: bytes, *, pooled: bool) -> None:
        internet = passed.family in INTERNET
        connection = self._connect(read, internet, pooled)
        self.connections.add(connection)
        try:
            passed.settimeout(0)
            if internet:
                passed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: connection, passed)
        except OSError as error:
            self.connections.discard(connection)
            passed.close()
            log("connection could not be adopted", error=str(error))
            return
        self.report_load()
        connection.begin()
        if self.draining:
            connection.drain()

    def ended(self, connection: Connection) -> None:
        """A connection is no more, or no more here."""
        self.connections.discard(connection)
        self.report_load()

    def report_load(self) -> None:
        """Tell the gateways, soon, how many connections are held here."""
        if not self._load_scheduled:
            self._load_scheduled = True
            self._loop.call_later(LOAD_REPORT_SECONDS, self._send_load)

    def _send_load(self) -> None:
        self._load_scheduled = False
        for line, peer in list(self._peers.items()):
            if peer.is_gateway and not line.closed and not line.backlog:
                line.send(packets.LOAD, b"%d %d" % (peer.adopted, len(self.connections)))

    @property
    def has_gateway(self) -> bool:
        """Whether there is a gateway to give a connection back to."""
        return any(peer.is_gateway for peer in self._peers.values())

    def give_back(self, passed: socket.socket, reason: bytes, unread: bytes) -> None:
        """Pass a connection on to a gateway; without one it is closed."""
        for line, peer in self._peers.items():
            if peer.is_gateway and not line.closed:
                line.send(packets.BACK, reason + unread, passed)
                return
        passed.close()

    async def drain(self, seconds: float) -> None:
        """Withdraw the socket, finish or give back every connection, give up after `seconds`."""
        self.draining = True
        began = time.monotonic()
        end = began + seconds
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self.path.unlink(missing_ok=True)
            self._listener.close()
        for line in list(self._peers):
            line.send(packets.DRAINING)
        for connection in list(self.connections):
            connection.drain()
        await self._until(lambda: not (self.connections or self._tasks or self._expecting(began)), end)
        for connection in list(self.connections):
            connection.abort()
        await self._until(lambda: not any(line.backlog for line in self._peers), end)
        for line in list(self._peers):
            line.close()

    async def _until(self, done: Callable[[], bool], end: float) -> None:
        """Wait for `done`, at most until `end` (monotonic). Polled: its causes are many, and it ends once."""
        while not done() and time.monotonic() < end:  # noqa: ASYNC110  see above
            await asyncio.sleep(0.02)

    def _expecting(self, began: float) -> bool:
        """Connections may still be under way from a gateway that has not read our D."""
        late = time.monotonic() - began > ACKNOWLEDGE_SECONDS
        gateways = [peer for peer in self._peers.values() if peer.is_gateway or peer.only_pools]
        return not late and not all(peer.acknowledged for peer in gateways)

    def tick(self, now: float) -> None:
        """Called each second with the monotonic time: end connections that take too long."""
        for connection in list(self.connections):
            connection.tick(now)
