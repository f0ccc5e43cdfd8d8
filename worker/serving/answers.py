"""HTTP/1.1 answers as bytes."""

from http import HTTPStatus

import msgspec

from worker.serving.errors import RequestError

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


def refusal(
    refused: RequestError, *, invocation: bool, keep_alive: bool, old_http: bool = False, by_model: bool = False
) -> bytes:
    """The answer to a refused request: `{"error": message}`, the Open Inference Protocol's.

    `invocation`: in SageMaker Runtime's shape instead, by whose error type SDKs raise. `by_model`: what was wrong was
    the body or the model, which is SageMaker's ModelError (424) with the status that it had here.
    """
    content: dict[str, object] = {"error": refused.message}
    status, headers = refused.status, refused.headers
    if invocation:
        kind, status, content = _sagemaker(refused, by_model=by_model)
        headers = (("x-amzn-errortype", kind), *headers)
    return answer(status, content, keep_alive=keep_alive, old_http=old_http, headers=headers)


SAGEMAKER_TYPES = {
    HTTPStatus.UNAUTHORIZED: ("AccessDeniedException", HTTPStatus.FORBIDDEN),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("ValidationError", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    HTTPStatus.TOO_MANY_REQUESTS: ("ThrottlingException", HTTPStatus.TOO_MANY_REQUESTS),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("InternalFailure", HTTPStatus.INTERNAL_SERVER_ERROR),
    HTTPStatus.BAD_GATEWAY: ("ServiceUnavailable", HTTPStatus.SERVICE_UNAVAILABLE),
    HTTPStatus.SERVICE_UNAVAILABLE: ("ServiceUnavailable", HTTPStatus.SERVICE_UNAVAILABLE),
}
"""Error type and status by our status; every other one is a ValidationError (400)."""


def _sagemaker(refused: RequestError, *, by_model: bool) -> tuple[str, int, dict[str, object]]:
    known = SAGEMAKER_TYPES.get(HTTPStatus(refused.status))
    if by_model and known is None:
        details = {"OriginalStatusCode": refused.status, "OriginalMessage": refused.message, "LogStreamArn": ""}
        return "ModelError", HTTPStatus.FAILED_DEPENDENCY, {"Message": refused.message, **details}
    kind, status = known or ("ValidationError", HTTPStatus.BAD_REQUEST)
    return kind, status, {"Message": refused.message}


def options(allow: str, *, keep_alive: bool, old_http: bool = False) -> bytes:
    """The answer to OPTIONS: the methods of an address, and no body."""
    line = connection_header(keep_alive=keep_alive, old_http=old_http)
    return f"HTTP/1.1 204 No Content\r\nallow: {allow}\r\n".encode() + line + b"\r\n"
