"""One answer of a replica process on its way to a client, checked as coming from a tenant.

The process is a tenant's, and the connection to the client may carry other tenants' answers too. So an answer must be
one, and end where it says: exactly one Content-Length and no other framing. Its head is written anew.
"""

from worker.serving import answers
from worker.serving.head import Head
from worker.serving.syntax import HEAD_END, HEAD_LIMIT_BYTES, Fields, read_status

CONTINUE_STATUS = 100
FIRST_FINAL_STATUS = 200
WITHOUT_BODY = {204, 304}
LENGTH_DIGITS = 15
PASSED = frozenset(
    {
        b"allow",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"inference-header-content-length",
        b"retry-after",
        b"vary",
        b"www-authenticate",
        b"x-amzn-errortype",
        b"x-amzn-invoked-production-variant",
        b"x-modelyard-variant",
    }
)
"""What a replica may say to a client: a header of its own could speak to the proxy in front (X-Accel-Redirect)."""
HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
"""Fields that are of one connection alone (RFC 9110 §7.6.1)."""


class Relay:
    """`feed` what the process sends and pass on what that answers, until `complete`.

    `begun`: the head has been passed on. `reusable`: the process keeps its connection open, and sent nothing more.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._read = b""
        self._left = 0
        self.begun = False
        self.complete = False
        self.reusable = True

    def feed(self, data: bytes, *, keep_alive: bool) -> bytes:
        """Bytes for the client; `keep_alive` says whether its connection stays. ValueError: this is no answer."""
        if self.begun:
            return self._body(data)
        self._read += data
        passed = b""
        while head := self._head_bytes(keep_alive=keep_alive):
            passed += head
            if head is not answers.CONTINUE:
                read, self._read = self._read, b""
                return passed + self._body(read)
        return passed

    def _head_bytes(self, *, keep_alive: bool) -> bytes:
        """The next head as it is passed on, `answers.CONTINUE` itself for an interim one; empty while none has come."""
        end = self._read.find(HEAD_END, 0, HEAD_LIMIT_BYTES)
        if end < 0:
            if len(self._read) >= HEAD_LIMIT_BYTES:
                raise ValueError("the head of the answer is too long")
            return b""
        end += len(HEAD_END)
        raw, self._read = self._read[:end], self._read[end:]
        return self._begin(raw, keep_alive=keep_alive)

    def _begin(self, raw: bytes, *, keep_alive: bool) -> bytes:
        status, fields = read_status(raw)
        if status < FIRST_FINAL_STATUS:
            if status != CONTINUE_STATUS or not self._head.expect_continue:
                raise ValueError(f"an interim answer {status} that nobody waits for")
            return answers.CONTINUE
        without = status in WITHOUT_BODY
        length = 0 if without else _length(fields)
        self._left = 0 if self._head.method == "HEAD" else length
        self.begun = True
        self.reusable = not any(name == b"connection" and b"close" in value.lower() for name, value in fields)
        passed = PASSED - {b"content-length"} if without else PASSED
        kept = b"".join([b"%b: %b\r\n" % field for field in fields if field[0] in passed])
        line = answers.connection_header(keep_alive=keep_alive, old_http=self._head.old_http)
        return b"%b\r\n%b%b\r\n" % (raw[: raw.index(b"\r\n")], kept, line)

    def _body(self, data: bytes) -> bytes:
        if len(data) > self._left:
            self.reusable = False
            data = data[: self._left]
        self._left -= len(data)
        self.complete = self._left == 0
        return data


def _length(fields: Fields) -> int:
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > LENGTH_DIGITS:
        raise ValueError("the answer does not say its length, once")
    if any(name == b"transfer-encoding" for name, _ in fields):
        raise ValueError("the length of the answer is ambiguous")
    return int(lengths[0])


def forwarded_head(head: Head, target: bytes, fields: Fields) -> bytes:
    """A request's head as a replica process gets it: HTTP/1.1 on a connection that stays."""
    dropped = HOP_BY_HOP | {b"expect"} if head.old_http else HOP_BY_HOP  # in HTTP/1.0 it means nothing
    kept = [b"%b: %b\r\n" % field for field in fields if field[0] not in dropped]
    if head.chunked:
        kept.append(b"transfer-encoding: chunked\r\n")
    if not any(name == b"host" for name, _ in fields):
        kept.append(b"host: replica\r\n")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method.encode(), target, b"".join(kept))
