"""Tiny ONNX models made with onnx.helper, and the spec of a replica that hosts them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backend.core.wire import ReplicaSpec, VariantSpec

FEATURES = 4


def linear(path: Path, *, scale: float, batch: int | str = "n") -> None:
    """`logits` [n, 3] = `input` [n, 4] · weights, all of them `scale`."""
    weights = numpy_helper.from_array(np.full((FEATURES, 3), scale, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        [weights],
    )
    save(graph, path)


def every_type(path: Path) -> None:
    """One Identity per datatype: input `in_<type>` [n, 2] → output `out_<type>`."""
    kinds = ["BOOL", "UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"]
    kinds += ["FLOAT16", "FLOAT", "DOUBLE", "STRING"]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in kinds],
        "every_type",
        [info(f"in_{kind}", getattr(TensorProto, kind), ["n", 2]) for kind in kinds],
        [info(f"out_{kind}", getattr(TensorProto, kind), ["n", 2]) for kind in kinds],
    )
    save(graph, path)


def words(path: Path) -> None:
    """`said` [n, 2] = `word` [n, 2], strings."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["word"], ["said"])],
        "words",
        [helper.make_tensor_value_info("word", TensorProto.STRING, ["n", 2])],
        [helper.make_tensor_value_info("said", TensorProto.STRING, ["n", 2])],
    )
    save(graph, path)


def total(path: Path) -> None:
    """`same` [n, 2] = `x` [n, 2], and their `sum`, a number without an axis."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0)],
        "total",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor_value_info("same", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
    )
    save(graph, path)


def half(path: Path) -> None:
    """`doubled` [n, 2] BF16 = `x` [n, 2] BF16 twice, and `log` [n, 2] FP32, which is NaN below zero."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["wide", "wide"], ["sum"]),
            helper.make_node("Cast", ["sum"], ["doubled"], to=TensorProto.BFLOAT16),
            helper.make_node("Log", ["wide"], ["log"]),
        ],
        "half",
        [info("x", TensorProto.BFLOAT16, ["n", 2])],
        [info("doubled", TensorProto.BFLOAT16, ["n", 2]), info("log", TensorProto.FLOAT, ["n", 2])],
    )
    save(graph, path)


def gather(path: Path) -> None:
    """`row` [n, 2] = table[`index` [n]]: an index above 3 is refused by the graph itself."""
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "t")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["t", "index"], ["row"])],
        "gather",
        [helper.make_tensor_value_info("index", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, ["n", 2])],
        [table],
    )
    save(graph, path)


def halves(path: Path, *, channels: int = 1) -> None:
    """`logits` [n, 2]: how light the left and the right half of `image` (uint8 [n, C, 4, 4]) are, 0 to 8 C."""
    left = np.zeros((channels, 4, 4, 2), np.float32)
    left[:, :, :2, 0] = left[:, :, 2:, 1] = 1 / 255
    weights = numpy_helper.from_array(left.reshape(-1, 2), "w")
    flat = numpy_helper.from_array(np.array([-1, channels * 16], np.int64), "flat")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["numbers", "flat"], ["row"]),
            helper.make_node("MatMul", ["row", "w"], ["logits"]),
        ],
        "halves",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", channels, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [weights, flat],
    )
    save(graph, path)


def slow(path: Path, *, layers: int = 200, width: int = 1024, batch: int | str = "n") -> None:
    """`y` [batch, width] after `layers` square products: well over 5 ms for one item."""
    weights = numpy_helper.from_array(np.eye(width, dtype=np.float32), "w")
    names = ["x", *[f"h{i}" for i in range(layers - 1)], "y"]
    steps = [
        step
        for i in range(layers)
        for step in (
            helper.make_node("MatMul", [names[i], "w"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [names[i + 1]]),
        )
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        steps,
        "slow",
        [info("x", TensorProto.FLOAT, [batch, width])],
        [info("y", TensorProto.FLOAT, [batch, width])],
        [weights],
    )
    save(graph, path)


def save(graph: onnx.GraphProto, path: Path) -> None:
    """Write a checked model with an opset every supported ONNX Runtime knows."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def linear_variant(folder: Path, name: str, scale: float) -> VariantSpec:
    """A linear model with its signature under `folder/models/<name>`."""
    linear(folder / "models" / name / "model.onnx", scale=scale)
    signature = {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, FEATURES]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
    }
    (folder / "models" / name / "signature.json").write_text(json.dumps(signature))
    return VariantSpec(name=name, model_version_id=f"version-{name}", files=[])


def graph_variant(
    folder: Path, name: str, build: Callable[[Path], None], *, classes: Sequence[str] = ()
) -> VariantSpec:
    """A variant of a built graph, with the signature that the graph declares, and the classes of its output."""
    path = folder / "models" / name / "model.onnx"
    build(path)
    graph = onnx.load(path).graph
    signature: dict[str, object] = {
        "inputs": [_declared(one) for one in graph.input],
        "outputs": [_declared(one) for one in graph.output],
    }
    signature |= {"classes": list(classes)} if classes else {}
    (path.parent / "signature.json").write_text(json.dumps(signature))
    return VariantSpec(name=name, model_version_id=f"version-{name}", files=[])


def _declared(info: onnx.ValueInfoProto) -> dict[str, object]:
    kind = TensorProto.DataType.Name(info.type.tensor_type.elem_type)
    named = {"FLOAT16": "FP16", "BFLOAT16": "BF16", "FLOAT": "FP32", "DOUBLE": "FP64", "STRING": "BYTES"}
    shape = [size.dim_value or -1 for size in info.type.tensor_type.shape.dim]
    return {"name": info.name, "datatype": named.get(kind, kind), "shape": shape}


def replica_folder(folder: Path, spec: ReplicaSpec) -> None:
    """`spec.json`, `usage/` and `run/`, as the agent makes them."""
    for name in ("usage", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))


def replica_spec(variants: list[VariantSpec], *, endpoint: str = "digits", processes: int = 1) -> ReplicaSpec:
    """A spec for tests: ids are derived from the endpoint's name."""
    return ReplicaSpec(
        endpoint_id=f"id-{endpoint}",
        endpoint_name=endpoint,
        organization_id="org-a",
        replica_id=f"replica-{endpoint}",
        variants=variants,
        processes=processes,
        memory_limit_bytes=0,
        cpu_count=processes,
        process_limit=64,
        disk_limit_bytes=0,
    )
