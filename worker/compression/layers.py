"""What a method made of each layer that has weights, read from the graph it wrote."""

import re
from math import prod

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from worker.compression.graphs import FEWEST_ROWS, TABLE
from worker.compression.sparse import BYTES_SPARSE, dense_weights

PLACES = {
    "Conv": 1, "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "MatMulNBits": 1, TABLE: 0,
}  # fmt: skip
"""Operators with weights, and which of their inputs these are."""
MAX_LAYERS = 200
"""A report stays small: of a deeper model, the layers with the most weights."""
SUFFIX = re.compile(r"(_MatMul)?(_quant|_Q[48])?$")
"""What the quantizers add to the name of a layer."""
THROUGH = ("Cast", "Mul", "DequantizeLinear", "Transpose")
DATATYPES: dict[int, tuple[str, int]] = {
    onnx.TensorProto.FLOAT: ("fp32", 32),
    onnx.TensorProto.FLOAT16: ("fp16", 16),
    onnx.TensorProto.BFLOAT16: ("bf16", 16),
    onnx.TensorProto.FLOAT8E4M3FN: ("fp8", 8),
    onnx.TensorProto.INT8: ("int8", 8),
    onnx.TensorProto.UINT8: ("int8", 8),
}


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer. weights: how many, without the bias. size_bytes: of them, before (fp32) and after.

    sparsity: the share of weights that are zero; None where nobody pruned.
    """

    name: str
    operator: str
    precision: str
    weights: int
    size_bytes_before: int
    size_bytes_after: int
    sparsity: float | None = None


def list_layers(model: onnx.ModelProto, *, sparse: bool = False) -> list[Layer]:
    """Layers of a compressed model, in its order. sparse: count the zeros too."""
    weights = {tensor.name: tensor for tensor in (*model.graph.initializer, *dense_weights(model))}
    sparse_bytes = {one.values.name: BYTES_SPARSE * one.values.dims[0] for one in model.graph.sparse_initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type not in PLACES:
            continue
        tensor = _origin(node.input[PLACES[node.op_type]], weights, makers)
        if tensor is None or tensor.data_type not in DATATYPES or len(tensor.dims) < 2:  # noqa: PLR2004 - a matrix
            continue
        if node.op_type == TABLE and tensor.dims[0] < FEWEST_ROWS:
            continue
        layer = _layer(node, tensor, sparse=sparse)
        found.append(
            msgspec.structs.replace(layer, size_bytes_after=sparse_bytes.get(tensor.name, layer.size_bytes_after))
        )
    if len(found) <= MAX_LAYERS:
        return found
    largest = {id(one) for one in sorted(found, key=lambda one: -one.weights)[:MAX_LAYERS]}
    return [one for one in found if id(one) in largest]


def _origin(
    name: str, weights: dict[str, onnx.TensorProto], makers: dict[str, onnx.NodeProto]
) -> onnx.TensorProto | None:
    """The initializer behind the nodes that make fp32 of it."""
    while name not in weights:
        maker = makers.get(name)
        if maker is None or maker.op_type not in THROUGH:
            return None
        name = maker.input[0]
    return weights[name]


def _layer(node: onnx.NodeProto, weight: onnx.TensorProto, *, sparse: bool) -> Layer:
    precision, bits = DATATYPES[weight.data_type]
    count = prod(weight.dims)
    if node.op_type == "MatMulNBits":
        said = {one.name: one.i for one in node.attribute}
        count, bits = said["K"] * said["N"], said["bits"]
        precision = f"int{bits}"
    zeros = None
    if sparse and node.op_type != "MatMulNBits":
        zeros = round(1 - float(np.count_nonzero(numpy_helper.to_array(weight))) / max(count, 1), 4)
    return Layer(
        name=SUFFIX.sub("", node.name),
        operator=node.op_type.replace("MatMulNBits", "MatMul").replace("MatMulInteger", "MatMul"),
        precision=precision,
        weights=count,
        size_bytes_before=4 * count,
        size_bytes_after=count * bits // 8,
        sparsity=zeros,
    )
