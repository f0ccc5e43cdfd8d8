"""Which layers suffer most from a method: each is changed alone, and the answers are compared.

The distance is the mean squared difference of the logits on real training inputs, so that the validation split, which
the gate measures on, takes no part in the choice.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from worker.compression.graphs import weighed
from worker.compression.measure import answers, open_session
from worker.compression.methods import Method, Plan, Task

MOST_INPUTS = 128


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """One layer. distance: mean squared difference of the logits where it alone is changed."""

    name: str
    operator: str
    distance: float


def rank_layers(method: Method, task: Task, folder: Path, between: Callable[[int, int], None]) -> list[Sensitivity]:
    """Layers that the method changes, the most sensitive first. `between` is told (layers done, of how many)."""
    layers = list(weighed(onnx.load(task.prepared), method.operators))
    inputs = task.inputs[:MOST_INPUTS]
    expected = _logits(task.prepared, inputs)
    found = []
    for number, one in enumerate(layers):
        between(number, len(layers))
        others = [other.node.name for other in layers if other is not one]
        candidate = folder / "sensitivity.onnx"
        method.write(task, candidate, others)
        distance = float(np.square(_logits(candidate, inputs) - expected).mean())
        candidate.unlink()
        found.append(Sensitivity(name=one.node.name, operator=one.node.op_type, distance=distance))
    return sorted(found, key=lambda one: -one.distance)


def fallback_plans(ranked: list[Sensitivity]) -> Iterator[Plan]:
    """More and more of the most sensitive layers stay in float: one by one at first, then a quarter more at a time.

    The last leaves one layer changed.
    """
    count = 1
    while count < len(ranked):
        names = tuple(one.name for one in ranked[:count])
        yield Plan(f"float-{count}-most-sensitive", names)
        count += max(1, count // 4)


def _logits(path: Path, inputs: NDArray[Any]) -> NDArray[np.float32]:
    return np.concatenate(list(answers(open_session(path), inputs)))
