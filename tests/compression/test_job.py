"""Compression of a really trained digits model, and its refusals."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from backend.core.wire import JobFailed, Metrics, ResultWritten
from frontend.views.models import CompressionReport
from tests.compression.runs import run
from tests.training.folders import LabelledImage, sklearn_digits, write_channel
from worker.compression.graphs import with_activations
from worker.compression.methods import METHODS, plans_of
from worker.jobprocess import FAILED_EXIT_CODE
from worker.training.data import read_dataset

pytestmark = pytest.mark.unit


def test_the_int8_model_answers_like_the_original(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Speed is the benchmarks' affair: the images are tiny and the machine may be busy.
    parameters = {"minimum_speedup": 0, "max_accuracy_loss_points": 2}
    code, told = run(tmp_path, trained, parameters, capsys)
    assert code == 0
    (result,) = told.of(ResultWritten)
    report = result.summary["report"]
    assert report["accepted"]
    assert report["size_bytes"]["after"] < report["size_bytes"]["before"]
    assert report["accuracy"]["before"] > 0.8
    assert report == json.loads((tmp_path / "work" / "report.json").read_text())

    artifact = tmp_path / "work" / result.folder
    assert sorted(path.name for path in artifact.iterdir()) == ["evaluation.json", "model.onnx", "signature.json"]
    before = json.loads((trained / "model" / "signature.json").read_text())
    after = json.loads((artifact / "signature.json").read_text())
    assert after["precision"] == "int8"
    assert result.summary["signature"] == after
    assert {key: after[key] for key in ("inputs", "outputs", "classes")} == {
        key: before[key] for key in ("inputs", "outputs", "classes")
    }
    validation = read_dataset(trained / "dataset").splits["validation"]
    session = ort.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": validation.images})
    assert float((logits.argmax(1) == validation.labels).mean()) == pytest.approx(report["accuracy"]["after"])

    test = read_dataset(trained / "dataset").splits["test"]
    (logits,) = session.run(["logits"], {"image": test.images})
    evaluation = json.loads((artifact / "evaluation.json").read_text())
    assert evaluation["split"] == "test"
    assert evaluation["accuracy"] == result.summary["metrics"]["test_accuracy"]
    wrong = {test.files[int(place)].sha256 for place in np.flatnonzero(logits.argmax(1) != test.labels)}
    assert evaluation["mistake_count"] == len(wrong)
    assert {one["sha256"] for one in evaluation["mistakes"]} <= wrong

    initializers = {tensor.name: tensor for tensor in onnx.load(artifact / "model.onnx").graph.initializer}
    kinds = {tensor.data_type for tensor in initializers.values() if np.prod(tensor.dims) > 5000}
    assert kinds == {onnx.TensorProto.INT8}


def test_the_report_names_every_layer(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told = run(tmp_path, trained, {"minimum_speedup": 0, "max_accuracy_loss_points": 100}, capsys)
    (result,) = told.of(ResultWritten)
    report, artifact = result.summary["report"], tmp_path / "work" / result.folder
    msgspec.convert(report, CompressionReport, strict=False)  # as the dashboard reads it
    layers = report["layers"]
    assert [one["operator"] for one in layers] == ["Conv", "Conv", "Gemm", "Gemm"]
    assert {one["precision"] for one in layers[1:]} == {"int8"}
    assert sum(one["weights"] for one in layers) == sum(
        np.prod(tensor.dims)
        for tensor in onnx.load(trained / "model" / "model.onnx").graph.initializer
        if len(tensor.dims) > 1
    )
    assert sum(one["size_bytes_after"] for one in layers) < artifact.joinpath("model.onnx").stat().st_size


def test_a_refusal_tells_its_numbers_and_its_report(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = run(tmp_path, trained, {"minimum_speedup": 500}, capsys)
    assert code == FAILED_EXIT_CODE
    assert not told.of(ResultWritten)
    (failed,) = told.of(JobFailed)
    assert failed.failure.failure_class == "gate"
    assert "500.00 x is asked for" in failed.failure.reason
    report = json.loads((tmp_path / "work" / "report.json").read_text())
    assert not report["accepted"]
    (metrics,) = told.of(Metrics)
    told_latency = {series.name: series.values[0] for series in metrics.series}
    assert told_latency["latency_ms/after"] == report["latency_ms"]["after"]
    assert any(line.startswith("report: {") for line in told.lines)


def test_a_model_spoilt_by_its_calibration_is_refused_for_its_accuracy(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibrated on black images only, every activation is clipped: the accuracy must go, and the gate
    see it.
    """
    black = [
        LabelledImage(np.zeros_like(image.pixels), image.label, image.split) if image.split == "train" else image
        for image in sklearn_digits(500, 200, 0)
    ]
    shutil.copytree(trained / "model", tmp_path / "inputs" / "model")
    write_channel(tmp_path / "inputs" / "dataset", black)
    parameters = {"minimum_speedup": 0, "fallback": False}
    code, told = run(tmp_path / "job", tmp_path / "inputs", parameters, capsys)
    assert code == FAILED_EXIT_CODE
    (failed,) = told.of(JobFailed)
    assert failed.failure.failure_class == "gate"
    assert "accuracy points" in failed.failure.reason


def test_only_the_stem_stays_in_float(trained: Path) -> None:
    every, stem = plans_of(METHODS["static-int8"], trained / "model" / "model.onnx")
    model = onnx.load(trained / "model" / "model.onnx")
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert not every.kept
    assert [kinds[name] for name in with_activations(model, list(stem.kept))] == ["Conv", "Relu"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda inputs: (inputs / "model" / "model.onnx").unlink(), "no model.onnx"),
        (
            lambda inputs: (inputs / "model" / "signature.json").write_text('{"precision": "int8"}'),
            "not an fp32 classifier",
        ),
        (
            lambda inputs: write_channel(
                inputs / "dataset",
                [LabelledImage(np.zeros((9, 9), np.uint8), label, split) for label, split in
                 [("1", "train"), ("2", "train"), ("1", "validation")]],
            ),
            r"images are \(1, 9, 9\)",
        ),
        (
            lambda inputs: write_channel(
                inputs / "dataset",
                [LabelledImage(np.zeros((8, 8), np.uint8), label, split) for label, split in
                 [("1", "train"), ("cat", "train"), ("1", "validation")]],
            ),
            "class 'cat'",
        ),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_compressed_are_named(
    spoil: Any, reason: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "inputs")
    spoil(tmp_path / "inputs")
    code, told = run(tmp_path / "job", tmp_path / "inputs", {}, capsys)
    assert code == FAILED_EXIT_CODE
    (failed,) = told.of(JobFailed)
    assert failed.failure.failure_class == "user_code"
    assert re.search(reason, failed.failure.reason)


def test_wrong_parameters_are_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(tmp_path, trained, {"method": "magic"}, capsys)
    assert code == FAILED_EXIT_CODE
    assert "method" in told.of(JobFailed)[0].failure.reason
