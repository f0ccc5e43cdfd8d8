"""A provider for many machines that are only rows: it speaks the local provider's protocol and says that they run."""

import json
import socketserver
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, tags: Sequence[str]) -> None:
        super().__init__(str(path), _Handler)
        self.machines = {tag: _machine(tag) for tag in tags}
        # The list is the same each time: what a provider spends on it is not the control plane's cost.
        self.listed = json.dumps({"machines": list(self.machines.values())}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """The list, or one machine."""
        tag = self.path.removeprefix("/machines").lstrip("/")
        content = self.server.listed if not tag else json.dumps(self.server.machines[tag]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


def _machine(tag: str) -> dict[str, object]:
    return {"tag": tag, "shape": "local.cpu", "state": "running", "launched_at_ns": 1, "terminated_at_ns": None}


@contextmanager
def stand_in_provider(path: Path, tags: Sequence[str]) -> Iterator[None]:
    """Answer on the Unix socket `path` until the block ends."""
    server = _Server(path, tags)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
