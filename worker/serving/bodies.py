"""Content-Encoding: request bodies of gzip and deflate, never larger than the body limit; answers when asked."""

import zlib

from worker.serving.errors import RequestError

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


SMALLEST_BYTES = 1024
LARGEST_BYTES = 4 << 20
"""Smaller answers gain nothing; larger ones would hold up everybody else's while they are compressed."""
FASTEST = 1


def accepted_encoding(value: str) -> str:
    """Of an Accept-Encoding (RFC 9110 §12.5.3): the first of gzip and deflate with the highest weight, "" = neither."""
    best, highest = "", 0.0
    for part in value.lower().split(","):
        name, _, parameters = part.partition(";")
        weight = parameters.strip().removeprefix("q=") if parameters.strip() else "1"
        try:
            found = float(weight)
        except ValueError:
            continue
        if name.strip() in {"gzip", "x-gzip", "deflate"} and found > highest:
            best, highest = name.strip().removeprefix("x-"), found
    return best


def encoded_body(body: bytes, encoding: str) -> bytes | None:
    """The body in an accepted encoding; None where it is better sent as it is."""
    if not encoding or not SMALLEST_BYTES <= len(body) <= LARGEST_BYTES:
        return None
    encoder = zlib.compressobj(FASTEST, zlib.DEFLATED, WINDOW_BITS[encoding])
    return encoder.compress(body) + encoder.flush()


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
