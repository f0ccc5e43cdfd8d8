"""A real HTTP server that tests import from: with ranges or without, one that breaks off, one that changes."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


class Source:
    """What the server does. `asked`: (path, Range) of every request."""

    def __init__(self) -> None:
        self.port = 0
        self.content: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.authorizations: list[str | None] = []
        self.tag: str | None = '"one"'
        self.ranges = True
        self.status: int | None = None
        self.break_after: int | None = None
        """Bytes after which the next answer ends; once."""
        self.says_length = True
        self.seconds_per_chunk = 0.0

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self.port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    source: Source

    def do_GET(self) -> None:
        source = self.source
        wanted = self.headers.get("Range")
        source.asked.append((self.path, wanted))
        source.authorizations.append(self.headers.get("Authorization"))
        content = source.content.get(self.path.partition("?")[0].lstrip("/"))
        if source.status is not None or content is None:
            self.send_error(source.status or 404)
            return
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if match and source.ranges and self.headers.get("If-Range") in {None, source.tag}:
            start = int(match[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if source.says_length:
            self.send_header("Content-Length", str(len(content) - start))
        if source.tag:
            self.send_header("ETag", source.tag)
        self.end_headers()
        self._send(content[start:])

    def _send(self, body: bytes) -> None:
        source = self.source
        if source.break_after is not None:
            body, source.break_after = body[: source.break_after], None
        try:
            for at in range(0, len(body), 65536):
                self.wfile.write(body[at : at + 65536])
                time.sleep(source.seconds_per_chunk)
        except OSError:
            pass  # whoever asked has gone

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Source]:
    source = Source()
    handler = type("Handler", (_Handler,), {"source": source})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        source.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield source
        server.shutdown()
        thread.join()
