"""A web server that is told of events, and a mail server; both real, on this host."""

import json
import socketserver
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Answers 200, or what `answers` says next: a status, or seconds to be silent for."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: deque[int | float] = field(default_factory=deque)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    def types(self) -> list[str]:
        return [each.json["type"] for each in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = receiver.answers.popleft() if receiver.answers else 200
            receiver.got.append(Got(self.path, dict(self.headers), body))
            if isinstance(answer, float):
                time.sleep(answer)
                answer = 200
            self.send_response(answer)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"noted\x00!")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A sender that gave up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it is given (RFC 5321, as far as a client needs it)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.letters: list[str] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: Mailbox
    simple: ClassVar[tuple[bytes, ...]] = (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"RSET", b"NOOP")

    def handle(self) -> None:
        self.wfile.write(b"220 mailbox\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.letters.append(b"".join(lines).decode())
            if verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            self.wfile.write(b"250 fine\r\n" if verb in (*self.simple, b"DATA") else b"500 what\r\n")


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mail server that listens."""
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)
