"""A raw client: bytes out, whole answers in, on one connection."""

import contextlib
import socket
from typing import NamedTuple, Self

from tests.serving.plane import TOKEN_A


class Answer(NamedTuple):
    """One answer. Header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """One connection; `bare` answers are those to HEAD."""

    def __init__(self, port: int, *, first: bytes = b"", seconds: float = 10.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._read = b""
        if first:
            self.send(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def half_close(self) -> None:
        """Send no more."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, bare: bool = False) -> Answer:
        """The next answer; EOFError when the other side has closed."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if bare else int(headers.get("content-length", "0"))
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return Answer(int(first.split()[1]), headers, body)

    def ask(self, data: bytes, *, bare: bool = False) -> Answer:
        """Send a request and read its answer."""
        self.send(data)
        return self.answer(bare=bare)

    def closed(self) -> bool:
        """Whether the other side closes, having said nothing more."""
        with contextlib.suppress(ConnectionResetError):
            return not self._read and not self._socket.recv(1)
        return True

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError(f"closed after {self._read!r}")
        self._read += data


def get(path: str, *, method: str = "GET", token: str | None = TOKEN_A, extra: str = "") -> bytes:
    """A request without a body."""
    key = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{key}{extra}\r\n".encode()
