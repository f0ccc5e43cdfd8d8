"""What quantization made of each layer that has weights."""

from math import prod

import msgspec
import onnx
from onnx import TensorProto

WEIGHED = ("Conv", "Gemm", "MatMul")
MAX_LAYERS = 200
"""A report stays small: of a deeper model, the layers with the most weights."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer. weights: how many, without the bias. size_bytes: of them, before and after."""

    name: str
    operator: str
    precision: str
    weights: int
    size_bytes_before: int
    size_bytes_after: int


def list_layers(model: onnx.ModelProto) -> list[Layer]:
    """Layers of a quantized model, in its order; an fp32 weight has four bytes, an int8 one a single byte."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    origins = {
        output: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for output in node.output
    }
    found = [
        _layer(node, weights[origin])
        for node in model.graph.node
        if node.op_type in WEIGHED and (origin := origins.get(node.input[1], node.input[1])) in weights
    ]
    if len(found) <= MAX_LAYERS:
        return found
    largest = {id(one) for one in sorted(found, key=lambda one: -one.weights)[:MAX_LAYERS]}
    return [one for one in found if id(one) in largest]


def _layer(node: onnx.NodeProto, weight: onnx.TensorProto) -> Layer:
    count = prod(weight.dims)
    quantized = weight.data_type == TensorProto.INT8
    return Layer(
        name=node.name,
        operator=node.op_type,
        precision="int8" if quantized else "fp32",
        weights=count,
        size_bytes_before=4 * count,
        size_bytes_after=count if quantized else 4 * count,
    )
