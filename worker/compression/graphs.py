"""Layers of an ONNX graph: nodes that multiply by weights which are part of the model."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

MULTIPLYING = ("Conv", "Gemm", "MatMul")
LINEAR = ("Gemm", "MatMul")
TABLE = "Gather"
"""An embedding: rows of a table of weights."""
FEWEST_ROWS = 64
"""A smaller table that is gathered from is arithmetic on shapes, not an embedding."""


@dataclass(frozen=True)
class Weighed:
    """A node and the initializer that holds its weights (not its bias)."""

    node: onnx.NodeProto
    weight: onnx.TensorProto

    @property
    def channel_axis(self) -> int:
        """The axis of the weights that becomes an output channel; of a table, its rows."""
        if self.node.op_type in {"Conv", TABLE}:
            return 0
        if self.node.op_type == "Gemm":
            return 0 if any(one.name == "transB" and one.i for one in self.node.attribute) else 1
        return len(self.weight.dims) - 1


def weighed(model: onnx.ModelProto, operators: tuple[str, ...] = (*MULTIPLYING, TABLE)) -> Iterator[Weighed]:
    """Nodes of these operators with fp32 weights, in the graph's order."""
    weights = {one.name: one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    for node in model.graph.node:
        if node.op_type not in operators:
            continue
        held = weights.get(node.input[0 if node.op_type == TABLE else 1])
        if held is None or len(held.dims) < 2:  # noqa: PLR2004 - a vector is no matrix
            continue
        if node.op_type == TABLE and (held.dims[0] < FEWEST_ROWS or any(one.i for one in node.attribute)):
            continue
        yield Weighed(node, held)


def with_activations(model: onnx.ModelProto, names: list[str]) -> list[str]:
    """These nodes, and the ReLU behind each, which belongs to it."""
    outputs = {output for node in model.graph.node if node.name in names for output in node.output}
    behind = [node.name for node in model.graph.node if node.op_type == "Relu" and set(node.input) & outputs]
    return [*names, *behind]
