"""Requests that two readers could read differently: refused by the one reader that gateway and replica share."""

import pytest

from worker.serving import answers
from worker.serving.chunks import ChunkedBody
from worker.serving.errors import RequestError
from worker.serving.head import parse_head

pytestmark = pytest.mark.unit
LINE = b"POST /v2/models/x/infer HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length : 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"X: a\r\n folded: b\r\n",
        b"X: a\nContent-Length: 3\r\n",
        b"X: a\rContent-Length: 3\r\n",
        b"X: a\x00b\r\n",
        b"X\x00: a\r\n",
        b": empty\r\n",
        b"no colon\r\n",
        b"Inference-Header-Content-Length: -1\r\n",
    ],
)
def test_heads_that_can_be_read_in_two_ways(headers: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_head(LINE + headers + b"\r\n")
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /v2/health/live HTTP/1.1\nHost: a\n\nPOST /v2/models/x/infer HTTP/1.1\r\n\r\n",
        b"GET /v2 HTTP/9.9\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        b"CONNECT evil:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_request_lines_that_are_none(raw: bytes) -> None:
    with pytest.raises(RequestError):
        parse_head(raw)


@pytest.mark.parametrize(
    ("path", "kind", "endpoint"),
    [
        (b"/v2/models/../../v2/models/x/infer", "unknown", None),
        (b"/v2/models/%2e%2e/infer", "infer", ".."),
        (b"/v2/models/a%2Finfer/infer", "unknown", None),
        (b"//v2/models/x/infer", "unknown", None),
        (b"/v2//models/x/infer", "unknown", None),
        (b"/V2/models/x/infer", "unknown", None),
        (b"/v2/models/x/infer%00", "unknown", None),
        (b"/v2/models/x;y/infer", "infer", "x;y"),
        (b"/v2/models/x/infer?a=/../", "infer", "x"),
    ],
)
def test_paths_mean_what_they_say(path: bytes, kind: str, endpoint: str | None) -> None:
    head = parse_head(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.kind == kind
    assert endpoint is None or head.endpoint == endpoint


@pytest.mark.parametrize(
    "body",
    [
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"\r\n",
        b"g\r\n",
        b"ffffffffffffffff\r\n",
        b"5;" + b"x" * 20_000,
        b"0\r\n" + b"a: b\r\n" * 3000,
    ],
)
def test_chunks_that_are_none(body: bytes) -> None:
    with pytest.raises(RequestError):
        ChunkedBody(1000).feed(body)


def test_an_error_quotes_a_stranger_in_its_body_alone() -> None:
    refused = RequestError(404, "there is no endpoint 'x\r\nSet-Cookie: a=b\r\n\r\n<script>'")
    for invocation in (False, True):
        said = answers.refusal(refused, invocation=invocation, keep_alive=True)
        head, _, body = said.partition(b"\r\n\r\n")
        assert b"Set-Cookie" not in head
        assert b"\r\n" not in body
