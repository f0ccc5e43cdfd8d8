"""A chunked message body (RFC 9112 §7.1), decoded as its bytes come."""

from worker.serving.errors import RequestError

SIZE_LINE_LIMIT_BYTES = 256
TRAILER_LIMIT_BYTES = 8 * 1024
HEX = frozenset(b"0123456789abcdefABCDEF")


class ChunkedBody:
    """`feed` bytes until `complete`; `body` is then whole. Extensions and trailers are ignored."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.body = bytearray()
        self.complete = False
        self._left = 0
        self._after_chunk = False
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Consume what belongs to the body and answer the rest (incomplete lines included).

        Raises RequestError 400 for malformed chunks, 413 when the body grows over its limit.
        """
        at = 0
        while not self.complete:
            if self._left:
                piece = data[at : at + self._left]
                self.body += piece
                self._left -= len(piece)
                at += len(piece)
                if self._left:
                    break
                self._after_chunk = True
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > SIZE_LINE_LIMIT_BYTES + TRAILER_LIMIT_BYTES:
                    raise RequestError(400, "malformed chunk")
                break
            self._line(data[at:end])
            at = end + 2
        return data[at:]

    def _line(self, line: bytes) -> None:
        if self._after_chunk:
            if line:
                raise RequestError(400, "malformed chunk: its data is longer than its size")
            self._after_chunk = False
        elif self._in_trailer:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > TRAILER_LIMIT_BYTES:
                raise RequestError(431, "the trailer is too long")
            self.complete = not line
        else:
            self._size(line)

    def _size(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip()
        if not digits or len(digits) > 12 or not HEX.issuperset(digits):  # noqa: PLR2004  digits of 256 TB
            raise RequestError(400, "malformed chunk size")
        self._left = int(digits, 16)
        if len(self.body) + self._left > self._limit_bytes:
            raise RequestError(413, f"the body may have {self._limit_bytes} bytes")
        self._in_trailer = self._left == 0
