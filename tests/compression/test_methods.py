"""Every method on a really trained model: what it writes, how close its answers are, what stays in float."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from worker.compression import config
from worker.compression.config import CompressionParameters
from worker.compression.graphs import weighed
from worker.compression.layers import list_layers
from worker.compression.measure import accuracy, answers, open_session
from worker.compression.methods import METHODS, Task
from worker.compression.quantize import prepare
from worker.compression.storage import Format, shrunk
from worker.training.data import read_dataset

pytestmark = pytest.mark.unit

EXPECTED: dict[config.Method, tuple[float, set[str]]] = {
    "static-int8": (2.0, {"int8"}),
    "dynamic-int8": (1.5, {"int8", "fp32"}),
    "weight-only-int8": (2.0, {"int8"}),
    "weight-only-int4": (2.5, {"int4", "int8"}),
    "fp16": (1.5, {"fp16"}),
    "bf16": (1.5, {"bf16"}),
    "fp8": (2.0, {"fp8"}),
    "none": (0.9, {"fp32"}),
}
"""How many times smaller a tiny model is at least, and the formats of its weights."""


def task(trained: Path, folder: Path, method: config.Method) -> Task:
    prepared = folder / "prepared.onnx"
    prepare(trained / "model" / "model.onnx", prepared)
    images = read_dataset(trained / "dataset").splits["train"].images[:200]
    return Task(prepared, images, CompressionParameters(method=method))


def logits(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate(list(answers(open_session(path), images)))


def test_there_is_an_expectation_of_every_method() -> None:
    assert set(EXPECTED) == set(METHODS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_method_makes_it_smaller_and_answers_alike(name: config.Method, trained: Path, tmp_path: Path) -> None:
    original, work, target = trained / "model" / "model.onnx", task(trained, tmp_path, name), tmp_path / "small.onnx"
    METHODS[name].write(work, target, [])
    smaller, formats = EXPECTED[name]
    assert original.stat().st_size / target.stat().st_size > smaller
    assert {one.precision for one in list_layers(onnx.load(target))} == formats
    validation = read_dataset(trained / "dataset").splits["validation"]
    assert accuracy(target, validation) > accuracy(original, validation) - 0.05
    difference = np.abs(logits(target, validation.images) - logits(original, validation.images)).mean()
    assert difference < 0.5
    assert bool(difference == 0) is (name == "none")


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "none"])
def test_layers_can_stay_in_float(name: config.Method, trained: Path, tmp_path: Path) -> None:
    """With every layer kept the answers are the original's; with one kept, that layer's weights are fp32."""
    work, target = task(trained, tmp_path, name), tmp_path / "small.onnx"
    layers = [one.node.name for one in weighed(onnx.load(work.prepared), METHODS[name].operators)]
    METHODS[name].write(work, target, layers)
    np.testing.assert_allclose(logits(target, work.inputs), logits(work.prepared, work.inputs), atol=1e-4)
    METHODS[name].write(work, target, layers[-1:])
    assert [one.precision for one in list_layers(onnx.load(target))][-1] == "fp32"


@given(
    values=arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    format_=st.sampled_from(["fp16", "bf16", "fp8", "int8"]),
    last=st.booleans(),
)
@example(values=np.full((1, 1), 1e-45, np.float32), format_="fp8", last=True)  # its scale would be nothing
@example(values=np.full((2, 1), 3e-37, np.float32), format_="int8", last=False)
def test_what_is_stored_is_close_to_what_was_given(values: NDArray[np.float32], format_: Format, last: bool) -> None:  # noqa: FBT001 - hypothesis
    axis = values.ndim - 1 if last else 0
    small, scales = shrunk(values, format_, axis)
    restored = small.astype(np.float32) * (1.0 if scales is None else scales)
    assert small.shape == values.shape
    others = tuple(place for place in range(values.ndim) if place != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    relative = {"fp16": 2**-10, "bf16": 2**-7, "fp8": 2**-3, "int8": 0.0}[format_]
    smallest = {"fp16": 1e-7, "bf16": 1e-38, "fp8": largest * 2**-9 / 448, "int8": largest / 254 * 1.001}[format_]
    assert (np.abs(restored - values) <= relative * np.abs(values) + smallest + 1e-30).all()
