"""A whole training job in this process, export included, and its failures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file

from backend.core.wire import JobFailed, Metrics, MetricSeries, Progress, ResultWritten
from tests.training.folders import LabelledImage, Told, sklearn_digits, write_channel, write_spec
from worker.jobprocess import FAILED_EXIT_CODE, run_job
from worker.training.config import Hyperparameters
from worker.training.data import read_dataset
from worker.training.job import train_and_export
from worker.training.models import Architecture

pytestmark = pytest.mark.unit


def job_folder(folder: Path, images: list[LabelledImage], hyperparameters: dict[str, Any]) -> Path:
    write_channel(folder / "input" / "training", images)
    return write_spec(folder, "training", {"algorithm": "image-classification", "hyperparameters": hyperparameters})


def coloured_digits() -> list[LabelledImage]:
    """Digits in red on blue: 8x8x3."""
    return [
        LabelledImage(np.stack([d.pixels, np.zeros_like(d.pixels), 255 - d.pixels], -1), d.label, d.split)
        for d in sklearn_digits(120, 40)
    ]


def test_a_job_ends_with_an_artifact_that_answers_as_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"epochs": 2, "width": 8, "hidden": 32, "batch_size": 16}
    folder = job_folder(tmp_path, coloured_digits(), settings)
    assert run_job(train_and_export, folder) == 0
    told = Told.parse(capsys.readouterr().out)
    (result,) = told.of(ResultWritten)
    artifact = tmp_path / "work" / result.folder
    assert sorted(path.name for path in artifact.iterdir()) == [
        "evaluation.json",
        "model.onnx",
        "model.safetensors",
        "signature.json",
    ]

    signature = json.loads((artifact / "signature.json").read_text())
    assert result.summary["signature"] == signature
    assert signature["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 3, 8, 8]}]
    assert signature["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
    assert signature["classes"] == [str(digit) for digit in range(10)]

    validation = read_dataset(folder / "input" / "training").splits["validation"]
    session = ort.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": validation.images})
    accuracy = float((logits.argmax(1) == validation.labels).mean())
    assert accuracy == pytest.approx(result.summary["metrics"]["validation_accuracy"], abs=0.03)
    assert "test_accuracy" not in result.summary["metrics"]
    evaluation = json.loads((artifact / "evaluation.json").read_text())
    assert (evaluation["split"], evaluation["images"]) == ("validation", 40)
    assert evaluation["accuracy"] == result.summary["metrics"]["validation_accuracy"]
    assert np.trace(evaluation["matrix"]) / 40 == evaluation["accuracy"]

    model = Architecture.of(Hyperparameters(**settings), (3, 8, 8), 10).build().eval()  # type: ignore[arg-type]  # checked at run time
    model.load_state_dict(load_file(artifact / "model.safetensors"))
    with torch.no_grad():
        again = model(torch.from_numpy(validation.images).float() / 255).numpy()
    assert np.allclose(again, logits, atol=1e-3)


def test_the_graph_is_one_small_file_without_batch_normalisation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = job_folder(tmp_path, sklearn_digits(60, 20, 10), {"epochs": 1, "width": 4, "hidden": 16})
    assert run_job(train_and_export, folder) == 0
    told = Told.parse(capsys.readouterr().out)
    (result,) = told.of(ResultWritten)
    assert {"validation_accuracy", "test_accuracy"} <= result.summary["metrics"].keys()
    graph = onnx.load(tmp_path / "work" / result.folder / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 2
    assert kinds.count("Gemm") == 2
    assert "BatchNormalization" not in kinds
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_the_first_step_is_told_at_once_and_metrics_are_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"epochs": 2, "batch_size": 16, "width": 4, "hidden": 16, "log_every_steps": 1}
    assert run_job(train_and_export, job_folder(tmp_path, sklearn_digits(64, 20), settings)) == 0
    told = Told.parse(capsys.readouterr().out)
    steps = [message for message in told.of(Progress) if message.total_steps]
    assert (steps[0].step, steps[0].total_steps) == (1, 8)
    series: dict[str, list[MetricSeries]] = {}
    for message in told.of(Metrics):
        for part in message.series:
            series.setdefault(part.name, []).append(part)
    assert [step for part in series["train/loss"] for step in part.steps] == list(range(1, 9))
    assert [step for part in series["validation/accuracy"] for step in part.steps] == [4, 8]
    assert {"train/accuracy", "validation/loss", "learning_rate", "throughput"} <= series.keys()
    assert any(line.startswith("epoch 2/2") for line in told.lines)


def test_early_stopping_ends_before_the_last_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "epochs": 50,
        "width": 4,
        "hidden": 16,
        "learning_rate": 1e-9,
        "early_stopping": {"patience": 2, "min_delta": 0.5},
    }
    assert run_job(train_and_export, job_folder(tmp_path, sklearn_digits(32, 20), settings)) == 0
    told = Told.parse(capsys.readouterr().out)
    summary = told.of(ResultWritten)[0].summary
    assert (summary["epochs_run"], summary["best_epoch"]) == (3, 1)
    assert any("Stopping early" in line for line in told.lines)


@pytest.mark.parametrize(
    ("images", "settings", "reason"),
    [
        (sklearn_digits(20, 0), {}, "no validation images"),
        (sklearn_digits(20, 5), {"epochs": 0}, "epochs"),
        (sklearn_digits(20, 5), {"precision": "fp16"}, "needs a GPU"),
        (
            sklearn_digits(64, 20),
            {
                "optimizer": "sgd",
                "learning_rate": 10,
                "momentum": 0.99,
                "precision": "fp32",
                "schedule": "constant",
            },
            "diverged",
        ),
    ],
)
def test_what_the_user_can_mend_is_told_as_such(
    images: list[LabelledImage],
    settings: dict[str, Any],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if reason == "needs a GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert run_job(train_and_export, job_folder(tmp_path, images, {"width": 4} | settings)) == FAILED_EXIT_CODE
    (failed,) = Told.parse(capsys.readouterr().out).of(JobFailed)
    assert failed.failure.failure_class == "user_code"
    assert reason in failed.failure.reason
    assert failed.failure.hint
