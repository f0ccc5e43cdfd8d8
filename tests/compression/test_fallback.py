"""Where int8 loses too much, the layers that make it lose stay in float."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from backend.core.wire import JobFailed, ResultWritten
from tests.compression.runs import run
from worker.compression.measure import answers, open_session
from worker.compression.sensitivity import Sensitivity, fallback_plans
from worker.jobprocess import FAILED_EXIT_CODE
from worker.training.data import read_dataset

pytestmark = pytest.mark.unit

FACTOR = 4096.0


@pytest.fixture
def uneven(trained: Path, tmp_path: Path) -> Path:
    """The trained model with one channel 4,096 times too loud, and the next layer's weights of it as much smaller.

    In fp32 it answers as before; in int8 the loud channel's range leaves nothing of the others.
    """
    inputs = tmp_path / "inputs"
    shutil.copytree(trained, inputs)
    path = inputs / "model" / "model.onnx"
    model = onnx.load(path)
    held = {one.name: one for one in model.graph.initializer}
    first, second = [node for node in model.graph.node if node.op_type == "Conv"]
    loudest = int(np.argmax(numpy_helper.to_array(held[first.input[2]])))
    for name, axis, factor in (
        (first.input[1], 0, FACTOR),
        (first.input[2], 0, FACTOR),
        (second.input[1], 1, 1 / FACTOR),
    ):
        values = numpy_helper.to_array(held[name]).copy()
        values[(slice(None),) * axis + (loudest,)] *= factor
        held[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    images = read_dataset(inputs / "dataset").splits["validation"].images
    for ours, theirs in zip(
        answers(open_session(path), images),
        answers(open_session(trained / "model" / "model.onnx"), images),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-2)
    return inputs


def test_the_layers_that_suffer_stay_in_float(uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(tmp_path / "job", uneven, {"minimum_speedup": 0, "max_accuracy_loss_points": 1}, capsys)
    assert code == 0
    (result,) = told.of(ResultWritten)
    report = result.summary["report"]
    assert report["plan"].endswith("most-sensitive")
    assert report["accuracy_loss_points"] <= 1
    ranked = report["sensitivity"]
    assert [one["distance"] for one in ranked] == sorted((one["distance"] for one in ranked), reverse=True)
    kept = report["float_layers"]
    assert kept == [one["name"] for one in ranked[: len(kept)]]
    assert ranked[0]["operator"] == "Conv"
    precisions = {one["name"]: one["precision"] for one in report["layers"]}
    assert {precisions[name] for name in kept} == {"fp32"}
    assert "int8" in precisions.values()


def test_without_the_fallback_it_is_refused(uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = {"minimum_speedup": 0, "max_accuracy_loss_points": 1, "fallback": False}
    code, told = run(tmp_path / "job", uneven, parameters, capsys)
    assert code == FAILED_EXIT_CODE
    assert "accuracy points" in told.of(JobFailed)[0].failure.reason
    assert json.loads((tmp_path / "job" / "work" / "report.json").read_text())["sensitivity"] == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_more_and_more_layers_stay_and_one_always_changes(count: int) -> None:
    ranked = [Sensitivity(name=str(number), operator="Conv", distance=1.0) for number in range(count)]
    sizes = [len(plan.kept) for plan in fallback_plans(ranked)]
    assert sizes == sorted(set(sizes))
    assert all(size < count for size in sizes)
    assert sizes[:3] == list(range(1, count))[:3]
