"""HTTP/1.1 answers as bytes."""

from http import HTTPStatus

import msgspec

_encoder = msgspec.json.Encoder()
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
KEEP = b"connection: keep-alive\r\n"


def connection_header(*, keep_alive: bool, old_http: bool) -> bytes:
    """The Connection line an answer needs: HTTP/1.0 keeps only what it is told to keep."""
    if not keep_alive:
        return CLOSE
    return KEEP if old_http else b""


def answer(
    status: int,
    content: object,
    *,
    keep_alive: bool,
    old_http: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A whole answer with a JSON body."""
    body = _encoder.encode(content)
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n".encode()
        + connection_header(keep_alive=keep_alive, old_http=old_http)
        + extra
        + b"\r\n"
        + body
    )


def error(
    status: int,
    message: str,
    *,
    keep_alive: bool,
    old_http: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """An error answer of the Open Inference Protocol: `{"error": message}`."""
    return answer(status, {"error": message}, keep_alive=keep_alive, old_http=old_http, headers=headers)
