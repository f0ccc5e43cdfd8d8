"""The head of an HTTP/1.1 request, as both gateway and replica read it.

`worker.serving.syntax` judges the syntax; message framing is decided here (RFC 9112 §6), from at most one of
Content-Length and Transfer-Encoding, so that the exact bytes of a request can be given back.
"""

import hashlib
from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote

from worker.serving.bodies import accepted_encoding
from worker.serving.errors import RequestError
from worker.serving.syntax import Fields, read_request

INFERENCE_ID_CHARACTERS = 64

Kind = Literal["infer", "invocations", "metadata", "model_ready", "live", "ready", "server", "any", "unknown"]
METHODS: dict[Kind, str] = {
    "infer": "POST",
    "invocations": "POST",
    "metadata": "GET",
    "model_ready": "GET",
    "live": "GET",
    "ready": "GET",
    "server": "GET",
    "any": "OPTIONS",
}
"""The method of each kind of address; `any` is the address `*`, which stands for all of them."""
PUBLIC: frozenset[Kind] = frozenset({"live", "ready", "server", "any"})


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
        "may_keep",
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
        self.may_keep = True
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


def parse_head(raw: bytes) -> Head:
    """Parse the bytes up to and with the empty line; raises RequestError 400, 414, 417 or 431."""
    request = read_request(raw)
    head = Head()
    head.method = request.method
    head.old_http = request.old_http
    head.keep_alive = not request.old_http
    _address(head, request.target)
    _fields(head, request.fields)
    head.has_body = head.chunked or head.content_length > 0
    return head


def allowed(head: Head) -> str:
    """The methods of the request's address, as the header Allow lists them."""
    match METHODS.get(head.kind):
        case "GET":
            return "GET, HEAD, OPTIONS"
        case "OPTIONS":
            return "GET, HEAD, POST, OPTIONS"
        case method:
            return f"{method}, OPTIONS"


def is_public(head: Head) -> bool:
    """Whether the answer says nothing of any endpoint, so that no key is needed."""
    return head.kind in PUBLIC or (head.method == "OPTIONS" and head.kind != "unknown")


def judge_method(head: Head) -> None:
    """Raise RequestError 405 where the address does not take the request's method."""
    wanted = METHODS.get(head.kind)
    if head.method in {wanted, "OPTIONS"} or (head.method == "HEAD" and wanted == "GET"):
        return
    raise RequestError(405, f"this address takes {wanted}", (("allow", allowed(head)),))


def _address(head: Head, url: bytes) -> None:
    if url == b"*":
        head.kind = "any"
        return
    try:
        path = unquote(url.partition(b"?")[0], errors="strict")
    except UnicodeDecodeError:
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


def _fields(head: Head, fields: Fields) -> None:
    seen: set[bytes] = set()
    for name, value in fields:
        reader = _READERS.get(name)
        if reader is None:
            continue
        if name in seen and name in _ONCE:
            raise RequestError(400, f"{name.decode()} is given twice")
        seen.add(name)
        reader(head, value)
    if b"transfer-encoding" in seen and b"content-length" in seen:
        raise RequestError(400, "the length of the body is ambiguous")


def _content_length(head: Head, value: bytes) -> None:
    head.content_length = _count(value, "Content-Length")


def _transfer_encoding(head: Head, value: bytes) -> None:
    if value.lower() != b"chunked" or head.old_http:
        raise RequestError(400, "the only transfer encoding supported is chunked, in HTTP/1.1")
    head.chunked = True


def _connection(head: Head, value: bytes) -> None:
    options = {option.strip(b" \t") for option in value.lower().split(b",")}
    if b"close" in options:
        head.keep_alive = head.may_keep = False
    elif b"keep-alive" in options:
        head.keep_alive = head.may_keep


def _authorization(head: Head, value: bytes) -> None:
    scheme, _, token = value.partition(b" ")
    token = token.strip(b" ")
    if scheme.lower() == b"bearer" and token:
        head.token_sha256 = hashlib.sha256(token).hexdigest()


def _content_encoding(head: Head, value: bytes) -> None:
    head.encoding = value.decode("latin-1").strip().lower()


def _accept_encoding(head: Head, value: bytes) -> None:
    head.answer_encoding = accepted_encoding(value.decode("latin-1"))


def _expect(head: Head, value: bytes) -> None:
    if head.old_http:
        return
    if value.lower() != b"100-continue":
        raise RequestError(417, "the only expectation that can be met is 100-continue")
    head.expect_continue = True


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
    b"content-length": _content_length,
    b"transfer-encoding": _transfer_encoding,
    b"connection": _connection,
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
_ONCE = frozenset({b"content-length", b"transfer-encoding", b"authorization", b"inference-header-content-length"})
"""Fields that a second one would make ambiguous, even where both say the same."""


def _count(value: bytes, what: str) -> int:
    text = value
    if not text.isdigit() or len(text) > 15:  # noqa: PLR2004  a petabyte is length enough
        raise RequestError(400, f"{what} must be a number of bytes")
    return int(text)
