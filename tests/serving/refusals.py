"""Every refusal of the data plane with the request that causes it: played by `test_refusals`, shown in the docs.

The plane of these requests has eight endpoints: `digits` (input FP32 [-1, 4], variants a and b), `types` (an input of
[-1, 2] for each datatype), `table` (a lookup that knows four rows), `asleep` (no replica is up), `paused`
(as `digits`, no variant has a weight), `words` (an input and output of strings), `pictures` (UINT8 [-1, 1, 4, 4]),
`fixed` (an input FP32 [2, 4]).
"""

import gzip
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

INFER = "/v2/models/digits/infer"


@dataclass(frozen=True)
class Refusal:
    """A request and its answer: `status`, and in the body `{"error": message}` with `said` in it."""

    status: int
    said: str
    method: str = "POST"
    path: str = INFER
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    token: str | None = "secret-a"
    raw: bytes | None = None
    """The whole request where an HTTP client would not send it."""
    shown: str = ""
    """What stands in the docs for a body that cannot be read there."""


def given(**changes: Any) -> bytes:
    """A good body with its one input changed; None removes."""
    one = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]} | changes
    return json.dumps({"inputs": [{name: value for name, value in one.items() if value is not None}]}).encode()


def good(**more: Any) -> bytes:
    """A good body with more in it."""
    return json.dumps({**json.loads(given()), **more}).encode()


def text(data: bytes, *, shape: tuple[int, ...] = (1, 2)) -> tuple[bytes, dict[str, str]]:
    """A binary tensor of strings: body and headers."""
    one = {"name": "in_STRING", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [one]}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


def head(*lines: str) -> bytes:
    """A raw request."""
    return (
        "\r\n".join([f"POST {INFER} HTTP/1.1", "Host: example.org", "Authorization: Bearer secret-a", *lines])
        + "\r\n\r\n"
    ).encode()


KINDS = ["BOOL", "UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"]
NAMED = {f"in_{kind}": kind for kind in KINDS} | {"in_FLOAT16": "FP16", "in_FLOAT": "FP32", "in_DOUBLE": "FP64"}


def every_type(*, first_rows: int) -> bytes:
    """A body with every input of `types`, one row each but the first."""
    inputs: list[dict[str, Any]] = [
        {"name": name, "datatype": datatype, "shape": [1, 2], "data": [1, 0]} for name, datatype in NAMED.items()
    ]
    inputs.append({"name": "in_STRING", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "b"]})
    inputs[0] |= {"shape": [first_rows, 2], "data": [True, False] * first_rows}
    return json.dumps({"inputs": inputs}).encode()


CHUNKED = head("Transfer-Encoding: chunked")
BINARY = {"binary_data_size": 16}
MANY_TYPES = "/v2/models/types/infer"
_short, _short_headers = text(struct.pack("<I", 9) + b"abc")
_latin, _latin_headers = text(struct.pack("<I", 1) + b"\xff" + struct.pack("<I", 0))
TWO = {
    "inputs": [
        {"name": "in_INT8", "shape": [1, 2], "datatype": "INT8", "data": [1, 2]},
        {"name": "in_INT8", "shape": [1, 2], "datatype": "INT8", "data": [1, 2]},
    ]
}

WHO_AND_WHERE = [
    Refusal(401, "a valid bearer key is needed", body=given(), token=None),
    Refusal(401, "a valid bearer key is needed", body=given(), token="revoked"),
    Refusal(404, "there is nothing at this address", path="/nowhere", body=given()),
    Refusal(404, "there is no endpoint 'unknown'", path="/v2/models/unknown/infer", body=given()),
    Refusal(404, "there is no version '9'", path="/v2/models/digits/versions/9/infer", body=given()),
    Refusal(400, "unknown variant 'zz'", body=given(), headers={"X-Modelyard-Target-Variant": "zz"}),
    Refusal(405, "this address takes POST", method="GET"),
    Refusal(405, "this address takes GET", path="/v2/health/live", token=None),
    Refusal(503, "no replica of this endpoint is ready", path="/v2/models/asleep/infer", body=given()),
    Refusal(503, "no variant of this endpoint takes traffic", path="/v2/models/paused/infer", body=given()),
]
HTTP = [
    Refusal(400, "an inference id may have 64 characters", headers={"X-Amzn-SageMaker-Inference-Id": "n" * 65}),
    Refusal(400, "malformed HTTP request", raw=b"\x16\x03\x01hello\r\n\r\n", shown="a TLS hello"),
    Refusal(400, "malformed HTTP request: only HTTP/1.1", raw=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Refusal(400, "malformed HTTP request: its first line", raw=b"POST  /v2 HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    Refusal(
        400,
        "malformed HTTP request: a line ends without a carriage return",
        raw=b"POST /v2 HTTP/1.1\nHost: example.org\n\n",
        shown="line ends that are a line feed alone",
    ),
    Refusal(400, "malformed HTTP request: it needs exactly one Host", raw=b"GET /v2 HTTP/1.1\r\n\r\n"),
    Refusal(400, "malformed HTTP request: it needs exactly one Host", raw=head("Host: example.net")),
    Refusal(400, "malformed HTTP request: its Host is not", raw=b"GET /v2 HTTP/1.1\r\nHost: a b\r\n\r\n"),
    Refusal(400, "malformed HTTP request: a header field must be", raw=head("Content-Length : 3")),
    Refusal(400, "malformed HTTP request: a header field must be", raw=head("X: a", " folded")),
    Refusal(400, "malformed request address", raw=b"POST /%ff HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    Refusal(400, "malformed request address", raw=b"CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\r\n"),
    Refusal(
        400,
        "the address of the request and its Host name different hosts",
        raw=b"GET http://example.net/v2 HTTP/1.1\r\nHost: example.org\r\n\r\n",
    ),
    Refusal(
        414,
        "the address of a request may have 8192 bytes",
        raw=b"GET /" + b"y" * 9000 + b" HTTP/1.1\r\nHost: example.org\r\n\r\n",
        shown="an address of 9 kB",
    ),
    Refusal(417, "the only expectation that can be met is 100-continue", raw=head("Expect: 200-ok")),
    Refusal(400, "content-length is given twice", raw=head("Content-Length: 3", "Content-Length: 3")),
    Refusal(400, "authorization is given twice", raw=head("Authorization: Bearer other")),
    Refusal(400, "Content-Length must be a number of bytes", raw=head("Content-Length: +3")),
    Refusal(400, "the length of the body is ambiguous", raw=head("Content-Length: 3", "Transfer-Encoding: chunked")),
    Refusal(400, "the only transfer encoding supported is chunked", raw=head("Transfer-Encoding: gzip, chunked")),
    Refusal(
        400,
        "Inference-Header-Content-Length must be a number of bytes",
        body=given(),
        headers={"Inference-Header-Content-Length": "-1"},
    ),
    Refusal(400, "malformed chunk size", raw=CHUNKED + b"zz\r\n"),
    Refusal(400, "malformed chunk: its data is longer than its size", raw=CHUNKED + b"1\r\nabc\r\n"),
    Refusal(400, "malformed chunk", raw=CHUNKED + b"1\n", shown="a chunk whose size ends with a line feed alone"),
    Refusal(413, "the body may have 1048576 bytes", raw=head("Content-Length: 1048577")),
    Refusal(413, "the body may have 1048576 bytes", raw=CHUNKED + b"200000\r\n"),
    Refusal(
        413,
        "the body may have 1048576 bytes",
        body=gzip.compress(bytes(2 << 20)),
        headers={"Content-Encoding": "gzip"},
        shown="gzip of 2 MiB of zeros",
    ),
    Refusal(415, "content encoding 'br' is not supported", body=given(), headers={"Content-Encoding": "br"}),
    Refusal(400, "the body is not valid gzip", body=given(), headers={"Content-Encoding": "gzip"}),
    Refusal(
        400,
        "the body is not valid gzip: it is cut short",
        body=gzip.compress(given())[:-9],
        headers={"Content-Encoding": "gzip"},
        shown="gzip without its end",
    ),
    Refusal(
        431, "the head of a request may have 32768 bytes", raw=head("X: " + "y" * 40_000), shown="a header of 40 kB"
    ),
    Refusal(431, "a request may have 128 header fields", raw=head(*["X: y"] * 130), shown="130 header fields"),
    Refusal(
        431,
        "the extensions of the chunks are too long",
        raw=CHUNKED + (b"1;" + b"y" * 200 + b"\r\na\r\n") * 50,
        shown="chunks with 10 kB of extensions",
    ),
    Refusal(
        431, "the trailer is too long", raw=CHUNKED + b"0\r\nX: " + b"y" * 40_000 + b"\r\n", shown="a trailer of 40 kB"
    ),
]
BODIES = [
    Refusal(400, "the request is not valid JSON", body=b"{"),
    Refusal(400, "the request must be a JSON object", body=b"[]"),
    Refusal(400, "inputs must be a list with at least one element", body=b'{"inputs": []}'),
    Refusal(400, "id must be a string", body=good(id=5)),
    Refusal(
        400,
        "Inference-Header-Content-Length is larger than the body",
        body=given(),
        headers={"Inference-Header-Content-Length": "9999"},
    ),
    Refusal(
        400,
        "3 bytes of binary data belong to no input",
        body=given() + b"abc",
        headers={"Inference-Header-Content-Length": str(len(given()))},
    ),
    Refusal(400, "input 'input' has both data and binary_data_size", body=given(parameters=BINARY)),
    Refusal(400, "input 'input': binary_data_size does not fit the body", body=given(data=None, parameters=BINARY)),
    Refusal(
        400,
        "input 'input' has 8 bytes where its shape and datatype say 16",
        body=given(data=None, parameters={"binary_data_size": 8}) + bytes(8),
        shown="a tensor of 8 bytes",
        headers={"Inference-Header-Content-Length": str(len(given(data=None, parameters={"binary_data_size": 8})))},
    ),
    Refusal(400, "unknown output 'x'", body=good(outputs=[{"name": "x"}])),
    Refusal(
        400,
        "binary_data must be true or false",
        body=good(outputs=[{"name": "logits", "parameters": {"binary_data": 1}}]),
    ),
]
TENSORS = [
    Refusal(400, "unknown input 'other'", body=given(name="other")),
    Refusal(
        400, "input 'in_BOOL' is missing", path=MANY_TYPES, body=json.dumps({"inputs": TWO["inputs"][:1]}).encode()
    ),
    Refusal(400, "input 'in_INT8' is given twice", path=MANY_TYPES, body=json.dumps(TWO).encode()),
    Refusal(400, "input 'input' has datatype FP32, not 'FP64'", body=given(datatype="FP64")),
    Refusal(400, "input 'input' needs a shape like [-1, 4]", body=given(shape=None)),
    Refusal(400, "input 'input': every dimension must be a whole number", body=given(shape=[-1, 4])),
    Refusal(400, "input 'input' needs a shape like [-1, 4], not [1, 5]", body=given(shape=[1, 5])),
    Refusal(400, "input 'input' has 3 elements where its shape says 4", body=given(data=[1, 2, 3])),
    Refusal(400, "input 'input': rows and numbers are mixed", body=given(data=[[1, 2], 3, 4])),
    Refusal(400, "input 'input' needs elements of datatype FP32", body=given(data=[1, 2, 3, True])),
    Refusal(400, "input 'input' (FP32)", body=given(data=[1, 2, 3, "4"])),
    Refusal(400, "data of input 'input' must be a list", body=given(data={"a": 1})),
    Refusal(400, "input 'input': a number is out of the range of FP32", body=given(data=[1, 2, 3, 1e39])),
    Refusal(
        400,
        "input 'in_STRING' needs strings",
        path=MANY_TYPES,
        body=json.dumps(
            {"inputs": [{"name": "in_STRING", "shape": [1, 2], "datatype": "BYTES", "data": [1, 2]}]}
        ).encode(),
    ),
    Refusal(
        400,
        "input 'in_STRING': its strings do not fit its bytes",
        path=MANY_TYPES,
        body=_short,
        headers=_short_headers,
        shown="a string that says it has 9 bytes and has 3",
    ),
    Refusal(
        400,
        "input 'in_STRING': strings must be UTF-8",
        path=MANY_TYPES,
        body=_latin,
        headers=_latin_headers,
        shown="a string of the byte FF",
    ),
    Refusal(
        400,
        "inputs have different numbers of items",
        path=MANY_TYPES,
        body=every_type(first_rows=2),
        shown="two rows of in_BOOL, one row of every other input",
    ),
    Refusal(
        422,
        "the model refused this input",
        path="/v2/models/table/infer",
        body=json.dumps({"inputs": [{"name": "index", "shape": [1], "datatype": "INT64", "data": [9]}]}).encode(),
    ),
]


def invocation(status: int, said: str, kind: str, body: bytes, shown: str = "", **more: Any) -> Refusal:
    """A body at SageMaker Runtime's address; `status` is its OriginalStatusCode."""
    name = more.pop("endpoint", "digits")
    headers = {"Content-Type": kind} | more
    return Refusal(status, said, path=f"/endpoints/{name}/invocations", body=body, headers=headers, shown=shown)


_JSON, _NPY, _PNG = "application/json", "application/x-npy", "image/png"
_NO_ARRAY = "\x93NUMPY".encode("latin-1")
_COMPLEX = (
    _NO_ARRAY + b"\x01\x00\x46\x00" + b"{'descr':'<c8','fortran_order':False,'shape':(1,)}".ljust(69) + b"\n" + bytes(8)
)
_PNG_HEAD = b"IHDR" + struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
_LARGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + _PNG_HEAD + struct.pack(">I", zlib.crc32(_PNG_HEAD))
_LARGE += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
_SCANS = b"\xff\xd8" + b"\xff\xda" * 101
INVOCATIONS = [
    invocation(415, "content type 'text/html' is not taken", "text/html", b"<p>"),
    invocation(406, "none of the accepted types 'image/gif' can be given", _JSON, b"[[1,2,3,4]]", Accept="image/gif"),
    invocation(406, "labels and strings cannot be given as npy", "text/csv", b"a,b", endpoint="words", Accept=_NPY),
    invocation(
        400,
        "labels are asked for, but the model's signature has no classes",
        _JSON,
        b"[[1,2,3,4]]",
        **{"X-Amzn-SageMaker-Custom-Attributes": "labels=true"},
    ),
    invocation(400, "send them by name, as JSON instances", "text/csv", b"1,2", endpoint="types"),
    invocation(400, "the request must be a list of rows", _JSON, b'{"rows": []}'),
    invocation(400, "the request has no line", "application/jsonlines", b""),
    invocation(400, "the request has no line", "text/csv", b""),
    invocation(400, "line 2 is not valid JSON", "application/jsonlines", b"[1,2,3,4]\n[1,", "`[1,2,3,4] ⏎ [1,`"),
    invocation(400, "instance 2 must be an object with", _JSON, b'[{"input": [1,2,3,4]}, 7]'),
    invocation(400, "input 'input': 3 elements in 1 rows, where a row is [4]", "text/csv", b"1,2,3"),
    invocation(400, "input 'input' takes no list of rows", "text/csv", b"1,2,3,4", endpoint="fixed"),
    invocation(400, "the request is not valid CSV", "text/csv", b"\xff", "the byte FF"),
    invocation(413, "a request may have 100000 rows", "text/csv", b"1\n" * 200_001, "more rows than that"),
    invocation(400, "a picture may have 100 scans", "image/jpeg", _SCANS, "a JPEG of more", endpoint="pictures"),
    invocation(400, "line 1 has a cell that is no FP32", "text/csv", b"1,2,x,4"),
    invocation(400, "the request is not an array of numpy.save", _NPY, _NO_ARRAY, "an array without its end"),
    invocation(400, "an array of complex64 [1] does not fit FP32", _NPY, _COMPLEX, "an array of a complex number"),
    invocation(415, "input 'input' takes no picture", _PNG, b"\x89PNG", "a picture"),
    invocation(400, "the request is no PNG or JPEG picture", _PNG, b"GIF89a", "a GIF", endpoint="pictures"),
    invocation(400, "a picture may have 16,000,000 pixels", _PNG, _LARGE, "9,000 by 9,000 pixels", endpoint="pictures"),
]
SECTIONS = {
    "Who asks, and for what": WHO_AND_WHERE,
    "The HTTP of the request": HTTP,
    "The body": BODIES,
    "The tensors": TENSORS,
    "SageMaker Runtime's bodies": INVOCATIONS,
}
REFUSALS = [one for section in SECTIONS.values() for one in section]
