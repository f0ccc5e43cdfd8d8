"""What a client gets from a real gateway and real replica processes."""

import gzip
import json
import socket
import time
from collections import Counter
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.conftest import Plane
from tests.serving.plane import Client, exchange, infer_body, request_bytes, until, usage

pytestmark = pytest.mark.integration
INFER = "/v2/models/digits/infer"


def test_an_inference_is_answered_with_its_variant(plane: Plane) -> None:
    with Client(plane.port) as client:
        for target, scale in (("a", 1.0), ("b", 2.0)):
            status, answer = client.infer([[1, 2, 3, 4], [0, 0, 0, 1]], X_Modelyard_Target_Variant=target)
            assert status == 200
            assert answer["model_name"] == "digits"
            assert answer["model_version"] == f"version-{target}"
            assert answer["parameters"] == {"variant": target}
            output = answer["outputs"][0]
            assert output["name"] == "logits"
            assert output["shape"] == [2, 3]
            assert output["data"] == [10 * scale] * 3 + [scale] * 3


def test_headers_name_the_variant_and_the_id_comes_back(plane: Plane) -> None:
    body = json.dumps({**infer_body([[1, 0, 0, 0]]), "id": "r-1"}).encode()
    with Client(plane.port) as client:
        status, headers, answer = client.ask("POST", INFER, body, X_Amzn_SageMaker_Target_Variant="b")
        assert status == 200
        assert headers["x-modelyard-variant"] == headers["x-amzn-invoked-production-variant"] == "b"
        assert json.loads(answer)["id"] == "r-1"
        status, _, _ = client.ask("POST", "/endpoints/digits/invocations", body)
        assert status == 200


def test_binary_tensors_both_ways(plane: Plane) -> None:
    rows = np.array([[1, 2, 3, 4], [0.5, 0, 0, 0]], np.float32)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "input",
                    "shape": [2, 4],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": rows.nbytes},
                }
            ],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
        }
    ).encode()
    with Client(plane.port) as client:
        status, headers, answer = client.ask(
            "POST",
            INFER,
            head + rows.tobytes(),
            Inference_Header_Content_Length=str(len(head)),
            X_Modelyard_Target_Variant="a",
        )
    assert status == 200
    cut = int(headers["inference-header-content-length"])
    assert json.loads(answer[:cut])["outputs"][0]["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(answer[cut:], np.float32).reshape(2, 3).tolist() == [[10.0] * 3, [0.5] * 3]


def test_tritonclient_as_it_comes(plane: Plane) -> None:
    pytest.importorskip("geventhttpclient", reason="needs tritonclient[http]")
    import tritonclient.http as triton

    client = triton.InferenceServerClient(f"127.0.0.1:{plane.port}")
    headers = {"Authorization": "Bearer secret-a", "X-Modelyard-Target-Variant": "b"}
    given = triton.InferInput("input", [1, 4], "FP32")
    given.set_data_from_numpy(np.ones((1, 4), np.float32))
    answer = client.infer("digits", [given], headers=headers)
    assert answer.as_numpy("logits").tolist() == [[8.0] * 3]
    assert client.is_server_live()
    assert client.is_model_ready("digits", headers=headers)
    client.close()


def test_metadata_and_readiness(plane: Plane) -> None:
    with Client(plane.port) as client:
        status, answer = client.json("GET", "/v2/models/digits")
        assert status == 200
        assert answer["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
        assert answer["versions"] == ["version-a", "version-b"]
        assert client.json("GET", "/v2/models/digits/ready")[0] == 200
        assert client.json("GET", "/v2/health/ready") == (200, {"ready": True})
    with Client(plane.port, None) as client:
        assert client.json("GET", "/v2/health/live") == (200, {"live": True})
        assert client.json("GET", "/v2/health/ready") == (200, {"ready": True})
        assert client.json("GET", "/v2")[1]["name"] == "modelyard"


def test_weights_are_kept(plane: Plane) -> None:
    calls = 3000
    with Client(plane.port) as client:
        found = Counter(client.infer([[1, 0, 0, 0]])[1]["parameters"]["variant"] for _ in range(calls))
    assert abs(found["a"] / calls - 0.7) < 0.04  # five standard deviations


def test_a_sticky_key_meets_one_variant_on_every_process(plane: Plane) -> None:
    met: dict[str, set[str]] = {}
    for _ in range(4):  # a connection each: both processes
        with Client(plane.port) as client:
            for subject in range(30):
                _, answer = client.infer([[1, 0, 0, 0]], X_Modelyard_Sticky_Key=f"subject-{subject}")
                met.setdefault(f"subject-{subject}", set()).add(answer["parameters"]["variant"])
    assert all(len(variants) == 1 for variants in met.values())
    assert set.union(*met.values()) == {"a", "b"}


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        (None, INFER, 401),
        ("wrong", INFER, 401),
        ("old", INFER, 401),
        ("secret-b", INFER, 404),
        ("secret-a", "/v2/models/unknown/infer", 404),
        ("secret-a", "/v2/models/digits/explain", 404),
        ("secret-a", "/nowhere", 404),
        (None, "/nowhere", 401),
    ],
)
def test_who_may_not_pass(plane: Plane, token: str | None, path: str, status: int) -> None:
    with Client(plane.port, token) as client:
        found, answer = client.json("POST", path, infer_body([[1, 0, 0, 0]]))
    assert found == status
    assert isinstance(answer["error"], str)


def change(**changes: Any) -> bytes:
    """A good request with its one input changed; None removes."""
    body = infer_body([[1, 2, 3, 4]])
    body["inputs"][0].update(changes)
    body["inputs"][0] = {name: value for name, value in body["inputs"][0].items() if value is not None}
    return json.dumps(body).encode()


BAD_BODIES = {
    "empty": b"",
    "no json": b"{",
    "not an object": b"[]",
    "no inputs": b"{}",
    "no input": b'{"inputs":[]}',
    "input is no object": b'{"inputs":[1]}',
    "nan": change(data=[1, 2, 3, 4]).replace(b"[1, 2, 3, 4]", b"[1, 2, 3, NaN]"),
    "infinity": change(data=[1, 2, 3, 4]).replace(b"[1, 2, 3, 4]", b"[1, 2, 3, 1e999]"),
    "beyond FP32": change(data=[1, 2, 3, 1e39]),
    "name": change(name="other"),
    "name is no string": change(name=["input"]),
    "no name": change(name=None),
    "datatype": change(datatype="FP64"),
    "no datatype": change(datatype=None),
    "no shape": change(shape=None),
    "rank": change(shape=[4]),
    "dimension": change(shape=[1, 5], data=[1, 2, 3, 4, 5]),
    "negative": change(shape=[-1, 4]),
    "zero": change(shape=[0, 4], data=[]),
    "fraction": change(shape=[1.0, 4]),
    "true as a dimension": change(shape=[True, 4]),
    "huge": change(shape=[10**30, 4]),
    "count": change(data=[1, 2, 3]),
    "text": change(data=[1, 2, 3, "4"]),
    "null": change(data=[1, 2, 3, None]),
    "bool": change(data=[1, 2, 3, True]),
    "huge number": change(data=[1, 2, 3, 10**400]),
    "object": change(data={"a": 1}),
    "mixed": change(data=[[1, 2], 3, 4]),
    "no data": change(data=None),
    "binary size without bytes": change(data=None, parameters={"binary_data_size": 16}),
    "binary size and data": change(parameters={"binary_data_size": 0}),
    "parameters": change(parameters=[]),
    "id": json.dumps({**infer_body([[1, 2, 3, 4]]), "id": 5}).encode(),
    "output": json.dumps({**infer_body([[1, 2, 3, 4]]), "outputs": [{"name": "x"}]}).encode(),
    "output flag": json.dumps(
        {**infer_body([[1, 2, 3, 4]]), "outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}
    ).encode(),
    "twice": json.dumps({"inputs": infer_body([[1, 2, 3, 4]])["inputs"] * 2}).encode(),
}


@pytest.mark.parametrize("name", sorted(BAD_BODIES))
def test_a_bad_body_is_refused_and_the_connection_lives(plane: Plane, name: str) -> None:
    with Client(plane.port) as client:
        status, _, answer = client.ask("POST", INFER, BAD_BODIES[name])
        assert status == 400, answer
        assert isinstance(json.loads(answer)["error"], str)
        assert client.infer([[1, 0, 0, 0]])[0] == 200


def test_other_refusals(plane: Plane) -> None:
    good = json.dumps(infer_body([[1, 0, 0, 0]])).encode()
    with Client(plane.port) as client:
        assert client.ask("POST", INFER, good, X_Modelyard_Target_Variant="zz")[0] == 400
        assert client.ask("POST", INFER, good, Content_Encoding="br")[0] == 415
        assert client.ask("POST", INFER, good, Content_Encoding="gzip")[0] == 400
        assert client.ask("POST", INFER, gzip.compress(bytes(2 << 20)), Content_Encoding="gzip")[0] == 413
        assert client.ask("POST", INFER, good, Inference_Header_Content_Length="9999")[0] == 400
        assert client.ask("POST", "/v2/models/digits/versions/9/infer", good)[0] == 404
        assert client.ask("POST", "/v2/models/digits/versions/version-b/infer", good)[0] == 200
    for method, path, status in (("GET", INFER, 405), ("POST", "/v2/health/live", 405)):
        with Client(plane.port) as client:
            assert client.ask(method, path)[0] == status
    assert exchange(plane.port, request_bytes([[1, 0, 0, 0]]) + b"\0\0\0\r\n\r\n").count(b" 400 ") == 1


def test_gzip_chunks_nested_data_and_no_content_type(plane: Plane) -> None:
    body = infer_body([[1, 2, 3, 4]])
    body["inputs"][0]["data"] = [[1, 2, 3, 4]]
    packed = gzip.compress(json.dumps(body).encode())
    with Client(plane.port) as client:
        assert client.ask("POST", INFER, packed, Content_Encoding="gzip")[0] == 200
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (packed[:7], packed[7:]))
    head = (
        f"POST {INFER} HTTP/1.1\r\nhost: x\r\nauthorization: bearer secret-a\r\ncontent-encoding: gzip\r\n"
        "connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()
    assert exchange(plane.port, head + pieces + b"0\r\ntrailer: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert exchange(plane.port, head + b"zz\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(plane: Plane) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-a\r\nContent-Length: 1048577\r\n\r\n"
    assert exchange(plane.port, head.encode()).startswith(b"HTTP/1.1 413 ")
    chunked = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-a\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert exchange(plane.port, chunked.encode() + b"200000\r\n").startswith(b"HTTP/1.1 413 ")


def test_expect_100_continue(plane: Plane) -> None:
    whole = request_bytes([[1, 0, 0, 0]], extra="Expect: 100-continue\r\nConnection: close\r\n")
    cut = whole.index(b"\r\n\r\n") + 4
    with socket.create_connection(("127.0.0.1", plane.port), timeout=5) as connection:
        connection.sendall(whole[:cut])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(whole[cut:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_pipelined_answers_come_in_order(plane: Plane) -> None:
    calls = 300
    many = b"".join(
        request_bytes([[float(i), 0, 0, 0]], extra="X-Modelyard-Target-Variant: a\r\n") for i in range(calls)
    )
    received = exchange(plane.port, many, half_close=True)
    found = [json.loads(part)["outputs"][0]["data"][0] for part in _bodies(received)]
    assert found == [float(i) for i in range(calls)]


def _bodies(received: bytes) -> list[bytes]:
    bodies = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        assert b" 200 OK" in head
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        bodies.append(rest[:length])
        received = rest[length:]
    return bodies


def test_http_1_0_and_connection_close_end_the_connection(plane: Plane) -> None:
    one = request_bytes([[1, 0, 0, 0]], extra="Connection: close\r\n")
    assert b"connection: close\r\n" in exchange(plane.port, one)
    old = request_bytes([[1, 0, 0, 0]]).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    assert exchange(plane.port, old).startswith(b"HTTP/1.1 200 ")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200), st.integers(0, 250), st.booleans())
def test_garbage_never_ends_a_process(plane: Plane, garbage: bytes, at: int, alone: bool) -> None:  # noqa: FBT001
    """Garbage for a head, or in the middle of a good request, is answered with 4xx or closed."""
    good = request_bytes([[1, 2, 3, 4]], extra="Connection: close\r\n")
    sent = garbage if alone else good[:at] + garbage + good[at:]
    received = exchange(plane.port, sent, half_close=True)
    assert not received or received[9:10] in b"24"
    assert plane.pids() == plane.replica.children()


def test_garbage_heads_get_400_and_431(plane: Plane) -> None:
    assert exchange(plane.port, b"\x16\x03\x01hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert exchange(plane.port, b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000).startswith(b"HTTP/1.1 431 ")
    both = f"POST {INFER} HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert exchange(plane.port, both).startswith(b"HTTP/1.1 400 ")


def test_usage_counts_every_answered_call_and_error(plane: Plane) -> None:
    time.sleep(1.5)  # refused calls of other tests are written within a second
    before = usage(plane.replica.folder)
    with Client(plane.port) as client:
        for _ in range(20):
            assert client.infer([[1, 0, 0, 0], [0, 1, 0, 0]])[0] == 200
        assert client.ask("POST", INFER, b"{")[0] == 400

    def errors() -> int:
        return sum(line.errors for line in usage(plane.replica.folder)) - sum(line.errors for line in before)

    until(errors, 5)
    lines = usage(plane.replica.folder)
    assert sum(line.calls for line in lines) - sum(line.calls for line in before) == 20
    assert sum(line.items for line in lines) - sum(line.items for line in before) == 40
    assert errors() == 1
    assert {line.key_id for line in lines} == {"key-secret-a"}


def test_connections_are_spread_evenly(plane: Plane) -> None:
    held = [Client(plane.port) for _ in range(30)]
    try:
        for client in held:
            assert client.infer([[1, 0, 0, 0]])[0] == 200
        counts = [_inet_sockets(pid) for pid in plane.replica.children()]
        assert sum(counts) >= 30
        assert abs(counts[0] - counts[1]) <= 2
    finally:
        for client in held:
            client.close()
    until(lambda: sum(_inet_sockets(pid) for pid in plane.replica.children()) == 0, 5)


def _inet_sockets(pid: int) -> int:
    return len([each for each in psutil.Process(pid).net_connections("inet") if each.status == "ESTABLISHED"])
