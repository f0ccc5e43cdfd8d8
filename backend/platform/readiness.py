"""Readiness checks for child processes: each returns a function that answers within a second."""

import socket
from collections.abc import Callable
from pathlib import Path

_TIMEOUT_SECONDS = 1.0


def accepts_tcp(host: str, port: int) -> Callable[[], bool]:
    """Ready when something accepts connections there (an address of all interfaces is tried on loopback)."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared, not bound

    def check() -> bool:
        try:
            socket.create_connection((target, port), timeout=_TIMEOUT_SECONDS).close()
        except OSError:
            return False
        return True

    return check


def accepts_unix(path: Path) -> Callable[[], bool]:
    """Ready when something accepts connections on the Unix socket."""

    def check() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_TIMEOUT_SECONDS)
            try:
                probe.connect(str(path))
            except OSError:
                return False
        return True

    return check
