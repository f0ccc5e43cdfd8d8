"""A chunked message body (RFC 9112 §7.1), decoded as its bytes come."""

import re

from worker.serving.errors import RequestError
from worker.serving.syntax import FIELDS_LIMIT, TOKEN, read_fields

SIZE_LINE_LIMIT_BYTES = 256
EXTRA_LIMIT_BYTES = 8 * 1024
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*"'
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})((?:;%b(?:=(?:%b|%b))?)*)" % (TOKEN, TOKEN, _QUOTED))


class ChunkedBody:
    """`feed` bytes until `complete`; `body` is then whole. Extensions and trailers are checked and ignored.

    `keep` false: the body is not kept, for somebody else decodes it; `seen_bytes` of it have come.
    """

    def __init__(self, limit_bytes: int, *, keep: bool = True) -> None:
        self._limit_bytes = limit_bytes
        self._keep = keep
        self.body = bytearray()
        self.seen_bytes = 0
        self.complete = False
        self._left = 0
        self._after_chunk = False
        self._in_trailer = False
        self._extra_bytes = 0
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        """Consume what belongs to the body and answer the rest (incomplete lines included).

        Raises RequestError 400 for malformed chunks, 413 when the body grows over its limit, 431 when its trailer or
        its extensions do.
        """
        at = 0
        while not self.complete:
            if self._left:
                piece = data[at : at + self._left]
                if self._keep:
                    self.body += piece
                self._left -= len(piece)
                at += len(piece)
                if self._left:
                    break
                self._after_chunk = True
            end = data.find(b"\r\n", at)
            if end < 0:
                self._incomplete(data[at : at + SIZE_LINE_LIMIT_BYTES + EXTRA_LIMIT_BYTES + 1])
                break
            self._line(data[at:end])
            at = end + 2
        return data[at:]

    def _incomplete(self, start: bytes) -> None:
        """The start of a line: refused where no line can come of it."""
        if self._after_chunk and start not in {b"", b"\r"}:
            raise RequestError(400, "malformed chunk: its data is longer than its size")
        if self._in_trailer and len(start) > EXTRA_LIMIT_BYTES:
            raise RequestError(431, "the trailer is too long")
        if b"\n" in start or (not self._in_trailer and len(start) > SIZE_LINE_LIMIT_BYTES):
            raise RequestError(400, "malformed chunk")

    def _line(self, line: bytes) -> None:
        if self._after_chunk:
            if line:
                raise RequestError(400, "malformed chunk: its data is longer than its size")
            self._after_chunk = False
        elif self._in_trailer:
            self._trailer(line)
        else:
            self._size(line)

    def _trailer(self, line: bytes) -> None:
        self._extra_bytes += len(line)
        self._trailers += 1
        if self._extra_bytes > EXTRA_LIMIT_BYTES or self._trailers > FIELDS_LIMIT:
            raise RequestError(431, "the trailer is too long")
        if line:
            read_fields([line])
        else:
            self.complete = True

    def _size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None or len(line) > SIZE_LINE_LIMIT_BYTES:
            raise RequestError(400, "malformed chunk size")
        self._extra_bytes += len(found[2])
        if self._extra_bytes > EXTRA_LIMIT_BYTES:
            raise RequestError(431, "the extensions of the chunks are too long")
        self._left = int(found[1], 16)
        self.seen_bytes += self._left
        if self.seen_bytes > self._limit_bytes:
            raise RequestError(413, f"the body may have {self._limit_bytes} bytes")
        self._in_trailer = self._left == 0
