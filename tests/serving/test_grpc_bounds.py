"""What a few bytes of a gRPC message may cost, and what a replica's answer may claim."""

import orjson
import pytest

from worker.serving import grpcproto as pb
from worker.serving.errors import RequestError
from worker.serving.grpcmessages import TENSORS, infer_body

pytestmark = pytest.mark.unit


def test_a_request_has_a_bounded_number_of_parts() -> None:
    request = pb.ModelInferRequest(model_name="digits")
    for _ in range(TENSORS + 1):
        request.outputs.add()
    with pytest.raises(RequestError, match="inputs, outputs and parameters") as caught:
        infer_body(request)
    assert caught.value.status == 400
    request = pb.ModelInferRequest(model_name="digits")
    tensor = request.inputs.add(name="input", datatype="FP32", shape=[1])
    for number in range(TENSORS + 1):
        tensor.parameters[f"p{number}"].bool_param = True
    with pytest.raises(RequestError, match="parameters"):
        infer_body(request)


def test_long_typed_contents_are_packed_in_pieces_and_whole() -> None:
    values = [number % 251 for number in range(200_001)]
    request = pb.ModelInferRequest(model_name="digits")
    request.inputs.add(name="input", datatype="UINT8", shape=[len(values)]).contents.uint_contents.extend(values)
    text, (data,) = infer_body(request)
    assert list(data) == values
    assert orjson.loads(text)["inputs"][0]["parameters"]["binary_data_size"] == len(values)
