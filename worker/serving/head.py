"""The head of an HTTP/1.1 request, as both gateway and replica read it.

llhttp (httptools) judges the syntax; message framing is decided here (RFC 9112 §6), from exactly one of
Content-Length and Transfer-Encoding, so that the exact bytes of a request can be given back.
"""

import hashlib
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote

import httptools

from worker.serving.bodies import accepted_encoding
from worker.serving.errors import RequestError

HEAD_LIMIT_BYTES = 32 * 1024
HEAD_END = b"\r\n\r\n"
INFERENCE_ID_CHARACTERS = 64

Kind = Literal["infer", "invocations", "metadata", "model_ready", "live", "ready", "server", "unknown"]
METHODS: dict[Kind, str] = {
    "infer": "POST",
    "invocations": "POST",
    "metadata": "GET",
    "model_ready": "GET",
    "live": "GET",
    "ready": "GET",
    "server": "GET",
}
PUBLIC: frozenset[Kind] = frozenset({"live", "ready", "server"})


class Head:
    """What the data plane wants to know of a request before its body. The token itself is not kept."""

    __slots__ = (
        "accept",
        "answer_encoding",
        "chunked",
        "content_length",
        "content_type",
        "custom_attributes",
        "encoding",
        "endpoint",
        "expect_continue",
        "has_body",
        "inference_id",
        "keep_alive",
        "kind",
        "method",
        "old_http",
        "sticky_key",
        "target_variant",
        "tensor_header_bytes",
        "token_sha256",
        "version",
    )

    def __init__(self) -> None:
        self.method = ""
        self.kind: Kind = "unknown"
        self.endpoint = ""
        self.version = ""
        self.keep_alive = True
        self.old_http = False
        self.content_length = 0
        self.chunked = False
        self.has_body = False
        self.expect_continue = False
        self.encoding = ""
        self.answer_encoding = ""
        self.token_sha256 = ""
        self.target_variant: str | None = None
        self.sticky_key: str | None = None
        self.tensor_header_bytes: int | None = None
        self.content_type = ""
        self.accept = ""
        self.custom_attributes = ""
        self.inference_id = ""


class _Collector:
    """Callbacks of httptools: the address and the headers, nothing else."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def head_end(read: bytes) -> int:
    """Length of the head that `read` begins with, 0 while it is incomplete; raises RequestError 431."""
    end = read.find(HEAD_END, 0, HEAD_LIMIT_BYTES)
    if end >= 0:
        return end + len(HEAD_END)
    if len(read) >= HEAD_LIMIT_BYTES:
        raise RequestError(431, f"the head of a request may have {HEAD_LIMIT_BYTES} bytes")
    return 0


def parse_head(raw: bytes) -> Head:
    """Parse the bytes up to and with the empty line; raises RequestError 400 for what is no HTTP/1 head."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offered upgrade may be ignored (RFC 9110 §7.8)
    except httptools.HttpParserError as error:
        raise RequestError(400, f"malformed HTTP request: {error}") from None
    if not collector.complete:
        raise RequestError(400, "malformed HTTP request: the head is not complete")
    head = Head()
    head.method = parser.get_method().decode("latin-1")
    head.old_http = parser.get_http_version() != "1.1"
    head.keep_alive = parser.should_keep_alive()
    _address(head, collector.url)
    _headers(head, collector.headers)
    head.has_body = head.chunked or head.content_length > 0
    return head


def _address(head: Head, url: bytes) -> None:
    try:
        path = unquote(httptools.parse_url(url).path or b"/", errors="strict")
    except (httptools.HttpParserError, UnicodeDecodeError):
        raise RequestError(400, "malformed request address") from None
    match path.rstrip("/").split("/"):
        case ["", "v2"]:
            head.kind = "server"
        case ["", "v2", "health", "live"]:
            head.kind = "live"
        case ["", "v2", "health", "ready"]:
            head.kind = "ready"
        case ["", "endpoints", name, "invocations"]:
            head.kind, head.endpoint = "invocations", name
        case ["", "v2", "models", name, "versions", version, *rest]:
            head.kind, head.endpoint, head.version = _verb(rest), name, version
        case ["", "v2", "models", name, *rest] if name:
            head.kind, head.endpoint = _verb(rest), name


def _verb(rest: list[str]) -> Kind:
    if rest == ["infer"]:
        return "infer"
    if rest == ["ready"]:
        return "model_ready"
    return "unknown" if rest else "metadata"


def _headers(head: Head, headers: list[tuple[bytes, bytes]]) -> None:
    lengths: set[bytes] = set()
    for name, value in headers:
        if name == b"content-length":
            lengths.add(value.strip())
        elif name in _READERS:
            _READERS[name](head, value)
    if lengths:
        if head.chunked or len(lengths) > 1:
            raise RequestError(400, "the length of the body is ambiguous")
        head.content_length = _count(lengths.pop(), "Content-Length")


def _transfer_encoding(head: Head, value: bytes) -> None:
    if value.strip().lower() != b"chunked" or head.chunked:
        raise RequestError(400, "the only transfer encoding supported is chunked")
    head.chunked = True


def _authorization(head: Head, value: bytes) -> None:
    scheme, _, token = value.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() == b"bearer" and token:
        head.token_sha256 = hashlib.sha256(token).hexdigest()


def _content_encoding(head: Head, value: bytes) -> None:
    head.encoding = value.decode("latin-1").strip().lower()


def _accept_encoding(head: Head, value: bytes) -> None:
    head.answer_encoding = accepted_encoding(value.decode("latin-1"))


def _expect(head: Head, value: bytes) -> None:
    head.expect_continue = value.strip().lower() == b"100-continue"


def _target_variant(head: Head, value: bytes) -> None:
    head.target_variant = value.decode("latin-1").strip()


def _sticky_key(head: Head, value: bytes) -> None:
    head.sticky_key = value.decode("latin-1").strip()


def _content_type(head: Head, value: bytes) -> None:
    head.content_type = value.decode("latin-1").strip()


def _accept(head: Head, value: bytes) -> None:
    """Several Accept headers are one list (RFC 9110 §5.3)."""
    head.accept = ",".join(filter(None, (head.accept, value.decode("latin-1").strip())))


def _custom_attributes(head: Head, value: bytes) -> None:
    head.custom_attributes = value.decode("latin-1").strip()


def _inference_id(head: Head, value: bytes) -> None:
    head.inference_id = value.decode("latin-1").strip()
    if len(head.inference_id) > INFERENCE_ID_CHARACTERS:
        raise RequestError(400, f"an inference id may have {INFERENCE_ID_CHARACTERS} characters")


def _tensor_header(head: Head, value: bytes) -> None:
    head.tensor_header_bytes = _count(value, "Inference-Header-Content-Length")


_READERS: dict[bytes, Callable[[Head, bytes], None]] = {
    b"transfer-encoding": _transfer_encoding,
    b"authorization": _authorization,
    b"content-encoding": _content_encoding,
    b"accept-encoding": _accept_encoding,
    b"expect": _expect,
    b"x-modelyard-target-variant": _target_variant,
    b"x-amzn-sagemaker-target-variant": _target_variant,
    b"x-modelyard-sticky-key": _sticky_key,
    b"inference-header-content-length": _tensor_header,
    b"content-type": _content_type,
    b"accept": _accept,
    b"x-amzn-sagemaker-custom-attributes": _custom_attributes,
    b"x-amzn-sagemaker-inference-id": _inference_id,
}


def _count(value: bytes, what: str) -> int:
    text = value.strip()
    if not text.isdigit() or len(text) > 15:  # noqa: PLR2004  a petabyte is length enough
        raise RequestError(400, f"{what} must be a number of bytes")
    return int(text)
