"""Between the agents and the API: keeps every request that was really sent, and sends it again, late and shuffled.

Agents and gateways reach the API by the recorder's address (`MODELYARD_API__INTERNAL_URL`). It passes every request on
as it came and the answer back. While the platform runs, a share of what tells something (reports and heartbeats, usage
segments) is delivered a second time some seconds later, out of order: a network that repeats itself. Afterwards
`replay` delivers all of it again, shuffled. An API that does not answer is passed on too: the connection is closed.
"""

import http.client
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

TIMEOUT_SECONDS = 40.0
LATE_SECONDS = (0.2, 6.0)
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


@dataclass(frozen=True)
class Sent:
    """One request as it was sent."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def tells(self) -> bool:
        """Whether it tells something that may be billed: a sync, or a usage segment."""
        return self.method == "POST" and (self.path.endswith("/sync") or "/usage-segments/" in self.path)


class Recorder:
    """A server on a free port of this host for as long as the `with` lasts; see the module's docstring."""

    def __init__(self, api_port: int, seed: int, *, again: float = 0.25) -> None:
        self._api_port = api_port
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._again = again
        self._lock = threading.Lock()
        self._late: list[tuple[float, Sent]] = []
        self._over = threading.Event()
        self.sent: list[Sent] = []
        self.repeated = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.recorder = self
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="recorder", daemon=True),
            threading.Thread(target=self._repeat, name="repeats", daemon=True),
        ]

    @property
    def url(self) -> str:
        """What agents and gateways are given as the API's address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def note(self, sent: Sent) -> None:
        """Keep a request that tells something; some are sent again soon."""
        if sent.tells:
            with self._lock:
                self.sent.append(sent)
                if self._random.random() < self._again:
                    self._late.append((time.monotonic() + self._random.uniform(*LATE_SECONDS), sent))

    def deliver(self, sent: Sent) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send it to the API: status, headers, body. Raises OSError and HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self._api_port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(sent.method, sent.path, sent.body, dict(sent.headers))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def replay(self) -> dict[int, int]:
        """Deliver everything that was told once more, in a shuffled order; how often which status was answered."""
        with self._lock:
            every = list(self.sent)
        self._random.shuffle(every)
        return dict(Counter(self.deliver(sent)[0] for sent in every))

    def _repeat(self) -> None:
        while not self._over.wait(0.1):
            now = time.monotonic()
            with self._lock:
                due = [sent for moment, sent in self._late if moment <= now]
                self._late = [(moment, sent) for moment, sent in self._late if moment > now]
                self._random.shuffle(due)
            for sent in due:
                try:
                    self.deliver(sent)
                    self.repeated += 1
                except (OSError, http.client.HTTPException):
                    continue  # the API is down: a repeat that nobody waits for


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    recorder: Recorder

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that has gone is nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_PUT(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = tuple((name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP)
        sent = Sent(self.command, self.path, kept, body)
        try:
            status, headers, answer = self.server.recorder.deliver(sent)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        finally:
            self.server.recorder.note(sent)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if status != http.client.NO_CONTENT:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing is logged."""
