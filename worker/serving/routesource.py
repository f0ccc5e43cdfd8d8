"""Where the routing table comes from: `GET {api}/gateway/v1/routes?version=N` each second, in a thread.

N is the version that the gateway has applied, not one that it has only read: the control plane calls an endpoint in
service once the gateways know it. So a new table is told a moment after it was applied, not a second.

200 = a RouteSnapshot, 204 or 304 = unchanged, anything else or no answer = keep the table there is. A new
table is on disk before it is used. One connection is kept open, so a poll costs a round trip.
"""

import asyncio
import contextlib
import http.client
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from backend.core.wire import RouteSnapshot, gateway_token
from worker.serving import table
from worker.serving.log import log

POLL_SECONDS = 1.0
TELL_SECONDS = 0.05
"""Between applying a table and saying so: replica processes that are new in it say hello meanwhile."""
TIMEOUT_SECONDS = 5.0
APPLY_SECONDS = 30.0
SNAPSHOT_LIMIT_BYTES = 256 * 1024 * 1024
UNCHANGED = {204, 304}


def apply_in(loop: asyncio.AbstractEventLoop, take: Callable[[RouteSnapshot], None], snapshot: RouteSnapshot) -> None:
    """Have the loop apply a snapshot, and wait for it in the polling thread. Raises TimeoutError.

    The loop may have ended meanwhile, which ends the process and this thread with it.
    """
    applied = threading.Event()

    def work() -> None:
        take(snapshot)
        applied.set()

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
        if not applied.wait(APPLY_SECONDS):
            raise TimeoutError(f"the routing table could not be applied in {APPLY_SECONDS:.0f} s")


class RouteSource(threading.Thread):
    """Polls until `stop`; `take` is called in this thread with every new snapshot and returns when it is applied.

    `role`: which of the gateways that share the token file this one is (`wire.gateway_token`); "" = the first.
    """

    def __init__(
        self,
        *,
        api: str,
        token_file: Path,
        path: Path,
        version: int,
        take: Callable[[RouteSnapshot], None],
        role: str = "",
    ) -> None:
        super().__init__(name="routes", daemon=True)
        self._address = urlsplit(api)
        self._token_file = token_file
        self._path = path
        self._version = version
        self._take = take
        self._role = role
        self._over = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._problem = ""

    def stop(self) -> None:
        """Poll no more; a poll under way is abandoned with the process."""
        self._over.set()

    def run(self) -> None:
        """The thread's work."""
        while not self._over.is_set():
            problem, pause = "", POLL_SECONDS
            try:
                if self._poll():
                    pause = TELL_SECONDS
            except (OSError, http.client.HTTPException, msgspec.DecodeError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
                self._disconnect()
            if problem != self._problem:
                self._problem = problem
                log("routes cannot be fetched" if problem else "routes are fetched again", error=problem)
            self._over.wait(pause)
        self._disconnect()

    def _poll(self) -> bool:
        """Ask once; True = a new table was applied."""
        connection = self._connect()
        connection.request(
            "GET",
            f"{self._address.path.rstrip('/')}/gateway/v1/routes?version={self._version}",
            headers={"Authorization": f"Bearer {gateway_token(self._token_file.read_text().strip(), self._role)}"},
        )
        reply = connection.getresponse()
        content = reply.read(SNAPSHOT_LIMIT_BYTES)
        if reply.will_close:
            self._disconnect()
        if reply.status in UNCHANGED:
            return False
        if reply.status != http.client.OK:
            raise ValueError(f"the control plane answered {reply.status}")
        snapshot = msgspec.json.decode(content, type=RouteSnapshot)
        if snapshot.version == self._version:
            return False
        try:
            table.save(self._path, content)
        except OSError as error:
            log("routing table cannot be saved", error=str(error))
        self._take(snapshot)
        self._version = snapshot.version
        return True

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._address.hostname or "127.0.0.1", self._address.port, timeout=TIMEOUT_SECONDS)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None
