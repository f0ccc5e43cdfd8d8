"""The gRPC messages as data: the same bytes as tritonclient's stubs, and typed contents as numpy would pack them."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.serving import grpcproto
from worker.serving.errors import RequestError
from worker.serving.grpcmessages import TYPED, infer_body, infer_response
from worker.serving.grpcpool import Answer, AnswerHead, ReplicaGone

pytestmark = pytest.mark.unit
NAMES = [name for name in vars(grpcproto) if name.startswith(("Server", "Model", "Repository"))]
NUMPY = {"FP32": "f4", "FP64": "f8", "BOOL": "?"}


def dtype(datatype: str) -> Any:
    return np.dtype(NUMPY.get(datatype, datatype.lower()))


@pytest.mark.parametrize("name", NAMES)
def test_messages_have_the_fields_of_the_official_stubs(name: str) -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2")

    def fields(descriptor: Any, seen: tuple[str, ...] = ()) -> Any:
        if descriptor is None or descriptor.full_name in seen:
            return None
        deeper = (*seen, descriptor.full_name)
        return {
            field.number: (field.name, field.type, field.is_repeated, fields(field.message_type, deeper))
            for field in descriptor.fields
        }

    ours = fields(getattr(grpcproto, name).DESCRIPTOR)
    official = fields(getattr(theirs, name).DESCRIPTOR)
    assert ours == official


@given(
    id_=st.text(max_size=20),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    raw=st.binary(max_size=50),
    number=st.integers(-(2**63), 2**63 - 1),
)
def test_a_request_of_the_official_stubs_is_understood(id_: str, shape: list[int], raw: bytes, number: int) -> None:
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2")
    sent = theirs.ModelInferRequest(model_name="m", id=id_)
    tensor = sent.inputs.add(name="x", datatype="UINT8", shape=shape)
    tensor.parameters["n"].int64_param = number
    sent.raw_input_contents.append(raw)
    sent.parameters["flag"].bool_param = True
    text, data = infer_body(grpcproto.ModelInferRequest.FromString(sent.SerializeToString()))
    content = orjson.loads(text)
    assert content.get("id", "") == id_
    assert content["parameters"] == {"flag": True, "binary_data_output": True}
    assert content["inputs"] == [
        {"name": "x", "shape": shape, "datatype": "UINT8", "parameters": {"n": number, "binary_data_size": len(raw)}}
    ]
    assert data == [raw]


@given(datatype=st.sampled_from(sorted(TYPED)), data=st.data())
def test_typed_contents_are_packed_as_numpy_packs_them_or_refused(datatype: str, data: st.DataObject) -> None:
    field, _ = TYPED[datatype]
    request = grpcproto.ModelInferRequest(model_name="m")
    contents = request.inputs.add(name="x", datatype=datatype, shape=[1]).contents
    if datatype == "BYTES":
        texts = data.draw(st.lists(st.binary(max_size=20), max_size=5))
        contents.bytes_contents.extend(texts)
        expected = b"".join(len(one).to_bytes(4, "little") + one for one in texts)
        assert infer_body(request)[1] == [expected]
        return
    elements = {
        "bool_contents": st.booleans(),
        "int_contents": st.integers(-(2**31), 2**31 - 1),
        "int64_contents": st.integers(-(2**63), 2**63 - 1),
        "uint_contents": st.integers(0, 2**32 - 1),
        "uint64_contents": st.integers(0, 2**64 - 1),
        "fp32_contents": st.floats(width=32),
        "fp64_contents": st.floats(),
    }[field]
    values = data.draw(st.lists(elements, max_size=6))
    getattr(contents, field).extend(values)
    wanted = dtype(datatype)
    fits = wanted.kind not in "iu" or all(np.iinfo(wanted).min <= one <= np.iinfo(wanted).max for one in values)
    if fits:
        assert infer_body(request)[1] == [np.array(values, wanted).tobytes()]
    else:
        with pytest.raises(RequestError, match=datatype):
            infer_body(request)


@given(st.binary(max_size=200), st.none() | st.integers(-5, 300))
def test_an_answer_that_is_none_is_the_replicas_fault_and_nothing_else(body: bytes, length: int | None) -> None:
    head = AnswerHead(b"HTTP/1.1 200 OK\r\ncontent-length: 0")
    head.json_bytes = length
    with pytest.raises(ReplicaGone):
        infer_response(Answer(head, body))


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 abc OK\r\ncontent-length: 5",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999",
        b"SSH-2.0-OpenSSH",
        b"",
    ],
)
def test_a_head_that_is_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|invalid literal"):
        AnswerHead(raw)
