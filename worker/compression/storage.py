"""Weights that are kept in a smaller format and computed with in fp32.

ONNX Runtime on a CPU has no products in fp16, bf16 or fp8. But it folds `Cast` (and `Mul`) of a constant when it loads
a model: the file is two or four times smaller, and a request costs what it did. fp8 is E4M3, fp8 and int8 have a scale
for each output channel, so that the largest weight of a channel is the largest number of the format.
"""

from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from worker.compression.graphs import MULTIPLYING, TABLE, Weighed, weighed

Format = Literal["fp16", "bf16", "fp8", "int8"]
PLAIN: dict[str, tuple[Any, float]] = {"fp16": (np.float16, 65_504.0), "bf16": (ml_dtypes.bfloat16, 3.38e38)}
"""By format: its numpy type, and (about) its largest number."""
SCALED: dict[str, tuple[Any, float]] = {"fp8": (ml_dtypes.float8_e4m3fn, 448.0), "int8": (np.int8, 127.0)}


def store(source: Path, target: Path, format_: Format, kept: list[str]) -> None:
    """Write `source` with its weights in `format_`; nodes named in `kept` stay as they are."""
    model = onnx.load(source)
    store_weights(model, format_, (*MULTIPLYING, TABLE), kept)
    onnx.save(model, target)


def store_weights(model: onnx.ModelProto, format_: Format, operators: tuple[str, ...], kept: list[str]) -> None:
    """The same in place, of nodes of these operators."""
    done: dict[str, str] = {}
    added: list[onnx.NodeProto] = []
    for one in list(weighed(model, operators)):
        if one.node.name in kept:
            continue
        if one.weight.name not in done:
            done[one.weight.name] = _replace(model, one, format_, added)
        place = list(one.node.input).index(one.weight.name)
        one.node.input[place] = done[one.weight.name]
    for place, node in enumerate(added):
        model.graph.node.insert(place, node)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [one for one in model.graph.initializer if one.name in done and one.name not in used]:
        model.graph.initializer.remove(tensor)


def _replace(model: onnx.ModelProto, one: Weighed, format_: Format, added: list[onnx.NodeProto]) -> str:
    """Add the smaller weights and the nodes that make fp32 of them; the name of the result."""
    values, name = numpy_helper.to_array(one.weight), one.weight.name
    small, scales = shrunk(values, format_, one.channel_axis)
    model.graph.initializer.append(numpy_helper.from_array(small, f"{name}_{format_}"))
    added.append(helper.make_node("Cast", [f"{name}_{format_}"], [f"{name}_fp32"], f"{name}_cast", to=1))
    if scales is None:
        return f"{name}_fp32"
    model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
    added.append(helper.make_node("Mul", [f"{name}_fp32", f"{name}_scales"], [f"{name}_scaled"], f"{name}_mul"))
    return f"{name}_scaled"


def shrunk(values: NDArray[np.float32], format_: Format, axis: int) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """The weights in the format, and what to multiply them by (None: 1), which fits their shape."""
    if format_ in PLAIN:
        dtype, limit = PLAIN[format_]
        return np.clip(values, -limit, limit).astype(dtype), None
    kind, limit = SCALED[format_]
    others = tuple(place for place in range(values.ndim) if place != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scales = (largest / limit).astype(np.float32)
    # A scale below float32's normal numbers is inexact or nothing: weights that small are stored as 0.
    scales = np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1.0))
    scaled = np.clip(values / scales, -limit, limit)
    return (np.rint(scaled) if format_ == "int8" else scaled).astype(kind), scales
