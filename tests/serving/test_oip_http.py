"""The Open Inference Protocol's REST form, whole, as tritonclient and plain clients speak it."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.serving.plane import Client
from tests.serving.protocol import ProtocolPlane

pytestmark = pytest.mark.integration

triton = pytest.importorskip("tritonclient.http")
KEY = {"Authorization": "Bearer secret-a"}  # tritonclient writes into the headers that it is given


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtocolPlane]:
    made = ProtocolPlane(tmp_path_factory.mktemp("http"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture
def client(served: ProtocolPlane) -> Iterator[Any]:
    made = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    yield made
    made.close()


def tensor(name: str, datatype: str, values: Any, *, binary: bool = True) -> Any:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


KINDS = {
    "BOOL": ("BOOL", np.array([[False, True], [True, False]])),
    **{kind: (kind, np.array([[0, 1], [2, 3]], kind.lower())) for kind in ("UINT8", "INT8", "UINT16", "INT16")},
    **{kind: (kind, np.array([[0, 1], [2, 3]], kind.lower())) for kind in ("UINT32", "INT32", "UINT64", "INT64")},
    "FLOAT16": ("FP16", np.array([[0.5, 1], [2, 3]], np.float16)),
    "FLOAT": ("FP32", np.array([[0.5, 1], [2, 3]], np.float32)),
    "DOUBLE": ("FP64", np.array([[0.1, 1], [2, 3]], np.float64)),
    "STRING": ("BYTES", np.array([["ä", ""], ["日本", "x" * 3000]], dtype=object)),
}


@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_both_ways_and_compressed(client: Any, packed: str | None, *, binary: bool) -> None:
    inputs = [
        tensor(f"in_{kind}", datatype, values, binary=binary or datatype == "FP16")
        for kind, (datatype, values) in KINDS.items()
    ]
    outputs = [
        triton.InferRequestedOutput(f"out_{kind}", binary_data=binary or kind == "FLOAT16") for kind in reversed(KINDS)
    ]
    answer = client.infer(
        "types",
        inputs,
        outputs=outputs,
        headers=dict(KEY),
        request_id="αβγ",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    assert answer.get_response()["id"] == "αβγ"
    assert answer.get_response()["model_version"] == "version-only"
    for kind, (datatype, values) in KINDS.items():
        found = answer.as_numpy(f"out_{kind}")
        if datatype == "BYTES":
            assert [t.decode() if binary else t for t in found.reshape(-1)] == values.reshape(-1).tolist()
        else:
            assert found.dtype == values.dtype
            assert found.tolist() == values.tolist()


def test_server_and_models(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata() == {
        "name": "modelyard",
        "version": "0.1.0",
        "extensions": ["binary_tensor_data"],
    }
    assert client.is_model_ready("half", headers=dict(KEY))
    assert client.is_model_ready("digits", "version-b", headers=dict(KEY))
    assert not client.is_model_ready("digits", "7", headers=dict(KEY))
    assert not client.is_model_ready("nothing", headers=dict(KEY))
    assert client.get_model_metadata("half", headers=dict(KEY))["inputs"] == [
        {"name": "x", "datatype": "BF16", "shape": [-1, 2]}
    ]


@pytest.mark.parametrize("version", ["version-b", "b"])
def test_versions_and_variants(client: Any, version: str) -> None:
    given = tensor("input", "FP32", np.ones((2, 4), np.float32))
    answer = client.infer("digits", [given], model_version=version, headers=dict(KEY))
    assert answer.as_numpy("logits").tolist() == [[8.0] * 3] * 2
    assert answer.get_response()["model_version"] == "version-b"


def test_bf16_and_nan_as_binary(client: Any) -> None:
    answer = client.infer("half", [tensor("x", "BF16", np.array([[1.5, -1.0]], ml_dtypes.bfloat16))], headers=dict(KEY))
    assert answer.as_numpy("doubled").astype(np.float32).tolist() == [[3.0, -2.0]]
    assert np.isnan(answer.as_numpy("log")).tolist() == [[False, True]]


def half(served: ProtocolPlane, data: str, **more: Any) -> tuple[int, Any]:
    with Client(served.port) as client:
        text = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "BF16", "data": "DATA"}]} | more)
        status, _, answer = client.ask("POST", "/v2/models/half/infer", text.replace('"DATA"', data).encode())
        return status, json.loads(answer)


def test_bf16_as_json_is_rounded_to_nearest_even(served: ProtocolPlane) -> None:
    status, answer = half(served, "[1.00390625, 3.1415926]")
    assert status == 200
    # 1 + 2^-8 lies between 1 and 1 + 2^-7 and goes to the even one
    assert answer["outputs"][0]["data"] == [2.0, 6.28125]
    status, answer = half(served, "[1e39, 1]")
    assert (status, answer) == (400, {"error": "input 'x': a number is out of the range of BF16"})


def test_nan_has_no_json(served: ProtocolPlane) -> None:
    refusal = {"error": "output 'log' holds NaN or infinity, which JSON has no word for; ask for binary data"}
    assert half(served, "[-1, 1]") == (422, refusal)
    assert half(served, "[0, 1]") == (422, refusal)
    status, answer = half(served, "[-1, 1]", outputs=[{"name": "doubled"}])
    assert (status, answer["outputs"][0]["data"]) == (200, [-2.0, 2.0])
    for word in ("NaN", "Infinity", "null"):
        assert half(served, f"[{word}, 1]")[0] == 400


@pytest.mark.parametrize(
    ("asked", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("br, GZIP;q=1.0", "gzip"),
        ("gzip;q=0", None),
        ("identity", None),
        ("gzip;q=x, br", None),
        ("", None),
    ],
)
def test_an_answer_is_compressed_when_asked_and_worth_it(served: ProtocolPlane, asked: str, coding: str | None) -> None:
    body = json.dumps(
        {"inputs": [{"name": "input", "shape": [400, 4], "datatype": "FP32", "data": [1] * 1600}]}
    ).encode()
    path = "/v2/models/digits/versions/a/infer"
    with Client(served.port) as client:
        status, headers, answer = client.ask("POST", path, body, Accept_Encoding=asked)
        assert (status, headers["content-encoding"]) == (200, coding)
        plain = gzip.decompress(answer) if coding == "gzip" else zlib.decompress(answer) if coding else answer
        assert json.loads(plain)["outputs"][0]["data"] == [4.0] * 1200
        small = json.dumps({"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1] * 4}]})
        assert client.ask("POST", path, small.encode(), Accept_Encoding=asked)[1]["content-encoding"] is None
