"""Pruning with fine-tuning, alone and before quantization."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from backend.core.wire import JobFailed, ResultWritten
from tests.compression.runs import run
from worker.compression.inputs import read_original
from worker.compression.measure import answers, open_session
from worker.compression.prune import prune_structure, rebuild
from worker.compression.sparse import write_sparse
from worker.jobprocess import FAILED_EXIT_CODE
from worker.training.data import read_dataset

pytestmark = pytest.mark.unit

LENIENT = {"max_accuracy_loss_points": 30, "minimum_speedup": 0}


def test_channels_go_and_the_model_can_be_compressed_again(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruning = {"kind": "structured", "amount": 0.5, "epochs": 6, "learning_rate": 0.003}
    code, told = run(tmp_path / "first", trained, {"method": "none", "pruning": pruning, **LENIENT}, capsys)
    assert code == 0
    report = told.of(ResultWritten)[0].summary["report"]
    assert report["pruned"]["weights_after"] < 0.5 * report["pruned"]["weights_before"]
    assert report["size_bytes"]["after"] < 0.6 * report["size_bytes"]["before"]
    artifact = tmp_path / "first" / "work" / "artifact"
    signature = json.loads((artifact / "signature.json").read_text())
    assert signature["precision"] == "fp32"
    assert signature["architecture"]["channels"] == [8, 16]
    assert signature["architecture"]["hidden"] == 64
    validation = read_dataset(trained / "dataset").splits["validation"]
    logits = np.concatenate(list(answers(open_session(artifact / "model.onnx"), validation.images)))
    assert float((logits.argmax(1) == validation.labels).mean()) == pytest.approx(report["accuracy"]["after"])

    shutil.copytree(artifact, tmp_path / "again" / "model")
    shutil.copytree(trained / "dataset", tmp_path / "again" / "dataset")
    pruning["amount"] = 0.25
    code, told = run(
        tmp_path / "second", tmp_path / "again", {"method": "static-int8", "pruning": pruning, **LENIENT}, capsys
    )
    assert code == 0
    summary = told.of(ResultWritten)[0].summary
    assert summary["signature"]["precision"] == "int8"
    assert summary["signature"]["quantization"]["pruning"] == {"kind": "structured", "amount": 0.25}
    assert summary["report"]["pruned"]["weights_before"] <= report["pruned"]["weights_after"]


def test_the_smallest_weights_become_zero_and_stay_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruning = {"kind": "magnitude", "amount": 0.9, "epochs": 6}
    code, told = run(tmp_path, trained, {"method": "none", "pruning": pruning, **LENIENT}, capsys)
    assert code == 0
    report = told.of(ResultWritten)[0].summary["report"]
    left = report["pruned"]["weights_after"] / report["pruned"]["weights_before"]
    assert 0.09 < left < 0.13  # biases and norms are not pruned
    assert report["size_bytes"]["after"] < 0.6 * report["size_bytes"]["before"]
    assert max(one["sparsity"] for one in report["layers"]) > 0.8
    written = sum(one["size_bytes_after"] for one in report["layers"])
    assert 0.5 * report["size_bytes"]["after"] < written < report["size_bytes"]["after"]


def test_pruning_again_gives_the_same_model(trained: Path) -> None:
    """What an interrupted fine-tuning rests on."""
    original = read_original(trained / "model")
    states = []
    for _ in range(2):
        architecture, model = rebuild(original)
        prune_structure(architecture, model, 0.3)
        states.append(model.state_dict())
    assert {name: value.tolist() for name, value in states[0].items()} == {
        name: value.tolist() for name, value in states[1].items()
    }


def test_sparse_weights_are_the_same_weights(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mostly, full = (random.normal(size=(64, 32)).astype(np.float32) for _ in range(2))
    mostly[random.random(mostly.shape) < 0.9] = 0
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["y"]), helper.make_node("Gemm", ["y", "b"], ["z"], transB=1)],
        "sparse",
        [info("x", 1, ["n", 64])],
        [info("z", 1, ["n", 64])],
        [numpy_helper.from_array(mostly, "a"), numpy_helper.from_array(full, "b")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    before, size = open_session(path), path.stat().st_size
    write_sparse(path)
    assert [one.values.name for one in onnx.load(path).graph.sparse_initializer] == ["a"]
    assert path.stat().st_size < size - 0.6 * mostly.nbytes
    x = random.normal(size=(3, 64)).astype(np.float32)
    np.testing.assert_array_equal(open_session(path).run(None, {"x": x})[0], before.run(None, {"x": x})[0])


def test_a_model_without_its_weights_cannot_be_pruned(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "inputs")
    (tmp_path / "inputs" / "model" / "model.safetensors").unlink()
    code, told = run(tmp_path / "job", tmp_path / "inputs", {"pruning": {"kind": "structured"}}, capsys)
    assert code == FAILED_EXIT_CODE
    (failed,) = told.of(JobFailed)
    assert failed.failure.failure_class == "user_code"
    assert "no PyTorch weights" in failed.failure.reason


def test_an_architecture_that_does_not_fit_its_weights_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "inputs")
    path = tmp_path / "inputs" / "model" / "signature.json"
    signature = json.loads(path.read_text())
    for wrong in ({"width": 8}, {"width": "many"}, {"channels": [4]}):
        path.write_text(json.dumps(signature | {"architecture": signature["architecture"] | wrong}))
        shutil.rmtree(tmp_path / "job", ignore_errors=True)
        code, told = run(tmp_path / "job", tmp_path / "inputs", {"pruning": {"kind": "structured"}}, capsys)
        assert code == FAILED_EXIT_CODE
        assert told.of(JobFailed)[0].failure.failure_class == "user_code"
