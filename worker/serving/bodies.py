"""Content-Encoding of request bodies: gzip and deflate, never larger than the body limit."""

import zlib

from worker.serving.errors import RequestError

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def plain_body(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """The decoded body; raises RequestError 400 (corrupt), 413 (too large) or 415 (unknown encoding)."""
    if encoding in {"", "identity"}:
        return body
    if encoding not in WINDOW_BITS:
        raise RequestError(415, f"content encoding {encoding!r} is not supported; use gzip or deflate")
    decoder = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = decoder.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise RequestError(400, f"the body is not valid {encoding}: {error}") from None
    if len(plain) > limit_bytes:
        raise RequestError(413, f"the body may have {limit_bytes} bytes")
    if not decoder.eof:
        raise RequestError(400, f"the body is not valid {encoding}: it is cut short")
    return plain
