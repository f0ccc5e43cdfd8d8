"""The methods of compression as data: what each promises, and how it writes a candidate.

| method | what becomes smaller | where it helps |
|---|---|---|
| static-int8 | weights and activations of all layers | the fastest for convolutions |
| dynamic-int8 | linear layers and embeddings, ranges found at each request | the fastest for text encoders |
| weight-only-int8, weight-only-int4 | linear layers, in blocks; the rest is stored in int8 | memory |
| fp16, bf16, fp8 | what is stored; a CPU computes in fp32 | size without loss of speed |
| none | nothing: only pruning | |
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from worker.compression import config
from worker.compression.graphs import LINEAR, MULTIPLYING, TABLE, weighed
from worker.compression.quantize import quantize_dynamically, quantize_statically, quantize_weights
from worker.compression.sparse import write_sparse
from worker.compression.storage import Format, store


@dataclass(frozen=True)
class Task:
    """What a method works on. prepared: the fp32 model. inputs: to calibrate on, [N, …]."""

    prepared: Path
    inputs: NDArray[Any]
    parameters: config.CompressionParameters


@dataclass(frozen=True)
class Method:
    """One way to write a candidate.

    precision: of the signature. minimum_speedup: asked for where nobody says. operators: the layers that change, and
    may stay in float. stem: also try with the first convolution in float. calibrated: real inputs are needed.
    write: (task, target, names of layers that stay in float).
    """

    precision: str
    minimum_speedup: float
    operators: tuple[str, ...]
    write: Callable[[Task, Path, list[str]], None]
    stem: bool = False
    calibrated: bool = False


def _static(task: Task, target: Path, kept: list[str]) -> None:
    quantize_statically(task.prepared, target, task.inputs, task.parameters.calibration, kept)


def _dynamic(task: Task, target: Path, kept: list[str]) -> None:
    quantize_dynamically(task.prepared, target, kept)


def _int8_weights(task: Task, target: Path, kept: list[str]) -> None:
    quantize_weights(task.prepared, target, 8, kept)


def _int4_weights(task: Task, target: Path, kept: list[str]) -> None:
    quantize_weights(task.prepared, target, 4, kept)


def _stored(format_: Format) -> Callable[[Task, Path, list[str]], None]:
    def write(task: Task, target: Path, kept: list[str]) -> None:
        store(task.prepared, target, format_, kept)

    return write


def _copied(task: Task, target: Path, kept: list[str]) -> None:
    del kept
    target.write_bytes(task.prepared.read_bytes())
    if task.parameters.pruning.kind == "magnitude":
        write_sparse(target)


EVERY = (*MULTIPLYING, TABLE)
METHODS: dict[config.Method, Method] = {
    "static-int8": Method("int8", 1.0, MULTIPLYING, _static, stem=True, calibrated=True),
    "dynamic-int8": Method("int8", 1.0, (*LINEAR, TABLE), _dynamic),
    "weight-only-int8": Method("int8-weights", 0.0, EVERY, _int8_weights),
    "weight-only-int4": Method("int4-weights", 0.0, EVERY, _int4_weights),
    "fp16": Method("fp16", 0.0, EVERY, _stored("fp16")),
    "bf16": Method("bf16", 0.0, EVERY, _stored("bf16")),
    "fp8": Method("fp8", 0.0, EVERY, _stored("fp8")),
    "none": Method("fp32", 0.0, (), _copied),
}


@dataclass(frozen=True)
class Plan:
    """Which layers stay in float."""

    name: str
    kept: tuple[str, ...] = ()


def plans_of(method: Method, prepared: Path) -> list[Plan]:
    """What is tried first: every layer; and all but the first convolution, which is often faster in float.

    An int8 convolution of one or three channels copies its window byte by byte and loses to the fp32 one.
    """
    plans = [Plan("every-layer")]
    if method.stem:
        first = next(weighed(onnx.load(prepared), ("Conv",)), None)
        if first is not None:
            plans.append(Plan("float-first-convolution", (first.node.name,)))
    return plans
