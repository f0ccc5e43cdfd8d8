"""What an HTTP/1.1 request head may look like (RFC 9112 §2 to §5), judged once for gateway and replica alike.

Only what every reader reads in the same way passes: one CRLF form of line ends, no folded lines, no white space before
a colon, no control characters, one Host that is an authority. What a lenient reader would repair is refused, for
a proxy before us may repair it differently.
"""

import re
from typing import NamedTuple

from worker.serving.errors import RequestError

HEAD_LIMIT_BYTES = 32 * 1024
TARGET_LIMIT_BYTES = 8 * 1024
FIELDS_LIMIT = 128
EMPTY_LINE = b"\r\n"
HEAD_END = b"\r\n\r\n"
TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/1\.([01])" % TOKEN)
_OTHER_VERSION = re.compile(rb"%b [\x21-\x7e]+ HTTP/\d(?:\.\d)?" % TOKEN)
_FIELD = re.compile(rb"(%b):([\t\x20-\x7e\x80-\xff]*)" % TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?")

Fields = list[tuple[bytes, bytes]]
"""Header fields in their order: name in lower case, value without the white space around it."""


class Request(NamedTuple):
    """A head that is one. `target` is in origin form (a path, maybe with a query) or `*`."""

    method: str
    target: bytes
    old_http: bool
    fields: Fields


def malformed(why: str) -> RequestError:
    """What a request is refused with that is none."""
    return RequestError(400, f"malformed HTTP request: {why}")


def head_end(read: bytes) -> int:
    """Length of the head that `read` begins with, 0 while it is incomplete.

    One empty line before it belongs to it (RFC 9112 §2.2). Raises RequestError 431 for a head over its limit, 400 as
    soon as it can be seen that no head will come of it.
    """
    start = len(EMPTY_LINE) if read.startswith(EMPTY_LINE) else 0
    end = read.find(HEAD_END, start, HEAD_LIMIT_BYTES)
    if end >= 0:
        return end + len(HEAD_END)
    if len(read) >= HEAD_LIMIT_BYTES:
        raise RequestError(431, f"the head of a request may have {HEAD_LIMIT_BYTES} bytes")
    if len(read) > start and read[start] not in TOKEN_BYTES and read != b"\r":
        raise malformed("it does not begin with a method")
    if read.count(b"\n") != read.count(b"\r\n"):
        raise malformed("a line ends without a carriage return")
    return 0


def read_request(raw: bytes) -> Request:
    """A request's head, with the empty line at its end; raises RequestError 400, 414 or 431."""
    first, *lines = raw.removeprefix(EMPTY_LINE).removesuffix(HEAD_END).split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        if _OTHER_VERSION.fullmatch(first):
            raise malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")
        raise malformed("its first line must be METHOD ADDRESS HTTP/1.1")
    method, target, minor = line.groups()
    if len(target) > TARGET_LIMIT_BYTES:
        raise RequestError(414, f"the address of a request may have {TARGET_LIMIT_BYTES} bytes")
    fields = read_fields(lines)
    old_http = minor == b"0"
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) > 1 or not (hosts or old_http):
        raise malformed("it needs exactly one Host")
    if hosts and not _AUTHORITY.fullmatch(hosts[0]):
        raise malformed("its Host is not the name of a host")
    return Request(method.decode(), _origin_form(method, target, hosts), old_http, fields)


def read_fields(lines: list[bytes]) -> Fields:
    """Header or trailer fields; raises RequestError 400 or 431."""
    if len(lines) > FIELDS_LIMIT:
        raise RequestError(431, f"a request may have {FIELDS_LIMIT} header fields")
    fields: Fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise malformed("a header field must be NAME: VALUE on one line, without control characters")
        fields.append((found[1].lower(), found[2].strip(b" \t")))
    return fields


def _origin_form(method: bytes, target: bytes, hosts: list[bytes]) -> bytes:
    """The path of a target (RFC 9112 §3.2); an absolute one must name the host that Host names."""
    if target.startswith(b"/") and b"#" not in target:
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in {b"http", b"https"} or b"#" in target:
        raise RequestError(400, "malformed request address")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    if not authority or not _AUTHORITY.fullmatch(authority):
        raise RequestError(400, "malformed request address")
    if hosts and _plain(authority, scheme) != _plain(hosts[0], scheme):
        raise RequestError(400, "the address of the request and its Host name different hosts")
    return path if path.startswith(b"/") else b"/" + path


def _plain(authority: bytes, scheme: bytes) -> bytes:
    """An authority in lower case, without the port that its scheme has anyway."""
    usual = b":443" if scheme.lower() == b"https" else b":80"
    return authority.lower().removesuffix(usual).removesuffix(b":")


def read_status(raw: bytes) -> tuple[int, Fields]:
    """Status and fields of an answer's head, with the empty line at its end; ValueError where it is none."""
    first, *lines = raw.removesuffix(HEAD_END).split(b"\r\n")
    line = _STATUS_LINE.fullmatch(first)
    if line is None:
        raise ValueError("an answer without a status line")
    try:
        return int(line[1]), read_fields(lines)
    except RequestError as refusal:
        raise ValueError(refusal.message) from None
