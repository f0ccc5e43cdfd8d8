"""Fine-tuning a text encoder: a real training, its artifact, its resumption, and its compression."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional

from backend.core.wire import CheckpointWritten, JobFailed, ResultWritten
from tests.compression.runs import run
from tests.training.encoder import write_encoder, write_texts
from tests.training.folders import Told, write_spec
from worker.jobprocess import FAILED_EXIT_CODE, JobError, run_job
from worker.training.config import TextHyperparameters
from worker.training.encoders import EncoderArchitecture, EncoderLayer, encoder_folder
from worker.training.job import train_and_export
from worker.training.texts import read_texts, read_tokenizer, tokens_of

pytestmark = pytest.mark.unit

SETTINGS: dict[str, Any] = {
    "epochs": 4, "max_length": 48, "learning_rate": 0.005, "precision": "fp32", "dropout": 0.0
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    site = tmp_path_factory.mktemp("site")
    write_encoder(site)
    sys.path.insert(0, str(site))
    yield
    sys.path.remove(str(site))


def train(folder: Path, **changed: Any) -> int:
    write_texts(folder / "input" / "training")
    parameters = {"algorithm": "text-classification", "hyperparameters": SETTINGS | changed}
    return run_job(train_and_export, write_spec(folder, "training", parameters))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    assert train(folder) == 0
    return folder


def test_the_artifact_answers_texts_and_says_how(trained: Path) -> None:
    artifact = trained / "work" / "artifact"
    assert {one.name for one in artifact.iterdir()} == {
        "model.onnx", "model.safetensors", "signature.json", "evaluation.json", "tokenizer.json",
    }  # fmt: skip
    signature = json.loads((artifact / "signature.json").read_text())
    assert signature["inputs"] == [{"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]}]
    told = signature["preprocessing"]["tokenizer"]
    assert told == {"file": "tokenizer.json", "input": "input_ids", "max_length": 48, "padding": 0}
    content = (artifact / told["file"]).read_bytes()
    split = read_texts(trained / "input" / "training", content, told["max_length"]).splits["test"]
    session = ort.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"input_ids": split.images})
    right = float((logits.argmax(1) == split.labels).mean())
    evaluation = json.loads((artifact / "evaluation.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(right)
    assert right > np.bincount(split.labels).max() / len(split) + 0.2, "it learnt more than the largest class"
    assert evaluation["mistakes"] == []
    assert evaluation["mistake_count"] == round((1 - right) * len(split))


def test_padding_changes_no_answer(trained: Path) -> None:
    artifact = trained / "work" / "artifact"
    reader = read_tokenizer((artifact / "tokenizer.json").read_bytes(), 48)
    tokens = tokens_of(reader, ["Start the job again.", "What a budget does."], 48)
    length = int((tokens != 0).sum(1).max())
    assert length < 48
    session = ort.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    (padded,) = session.run(None, {"input_ids": tokens})
    (cut,) = session.run(None, {"input_ids": tokens[:, :length]})
    np.testing.assert_allclose(padded, cut, atol=1e-4)


def test_the_layer_is_bert_s() -> None:
    """Against PyTorch's own attention, with the same weights."""
    torch.manual_seed(0)
    architecture = EncoderArchitecture.of(TextHyperparameters(max_length=48), 2)
    layer = EncoderLayer(architecture.shape, 0.0).eval()
    states = torch.randn(3, 7, 32)
    absent = torch.zeros(3, 7, dtype=torch.bool)
    absent[1, 5:] = True
    attention = torch.nn.MultiheadAttention(32, 4, batch_first=True).eval()
    attention.load_state_dict(
        {
            "in_proj_weight": layer.projections.weight,
            "in_proj_bias": layer.projections.bias,
            "out_proj.weight": layer.attended.weight,
            "out_proj.bias": layer.attended.bias,
        }
    )
    with torch.no_grad():
        mixed, _ = attention(states, states, states, key_padding_mask=absent)
        expected = layer.first_norm(states + mixed)
        expected = layer.second_norm(expected + layer.narrow(functional.gelu(layer.wide(expected))))
        found = layer(states, absent[:, None, None, :].float() * -10_000.0)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "whole", epochs=2, checkpoint_every_epochs=1, dropout=0.1) == 0
    told = Told.parse(capsys.readouterr().out)
    first = told.of(CheckpointWritten)[0]
    shutil.copytree(tmp_path / "whole" / "work" / first.folder, tmp_path / "resumed" / "checkpoint")
    write_texts(tmp_path / "resumed" / "input" / "training")
    parameters = {
        "algorithm": "text-classification",
        "hyperparameters": SETTINGS | {"epochs": 2, "checkpoint_every_epochs": 1, "dropout": 0.1},
    }
    assert run_job(train_and_export, write_spec(tmp_path / "resumed", "training", parameters, first.step)) == 0
    whole, resumed = (tmp_path / name / "work" / "artifact" / "model.safetensors" for name in ("whole", "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()


@pytest.mark.parametrize(
    ("parameters", "precision"),
    [
        ({"method": "dynamic-int8"}, "int8"),
        ({"method": "static-int8"}, "int8"),
        ({"method": "weight-only-int4"}, "int4-weights"),
        ({"method": "fp16", "pruning": {"kind": "structured", "amount": 0.5, "epochs": 1}}, "fp16"),
    ],
)
def test_a_text_classifier_can_be_compressed(
    parameters: dict[str, Any], precision: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "work" / "artifact", tmp_path / "inputs" / "model")
    shutil.copytree(trained / "input" / "training", tmp_path / "inputs" / "dataset")
    lenient = {"minimum_speedup": 0, "max_accuracy_loss_points": 20}
    code, told = run(tmp_path / "job", tmp_path / "inputs", parameters | lenient, capsys)
    assert code == 0
    summary = told.of(ResultWritten)[0].summary
    assert summary["signature"]["precision"] == precision
    assert summary["report"]["size_bytes"]["after"] < 0.75 * summary["report"]["size_bytes"]["before"]
    artifact = tmp_path / "job" / "work" / "artifact"
    assert (artifact / "tokenizer.json").read_bytes() == (trained / "work" / "artifact" / "tokenizer.json").read_bytes()
    if "pruning" in parameters:
        assert summary["signature"]["architecture"]["intermediate_size"] == 32


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([("a text", None), ("another", None), ("third", None), ("fourth", None)], "without a label"),
        ([("a text", "x"), ("another", "x"), ("third", "x"), ("fourth", "x")], "1 classes"),
        ([("a text", "x"), ("another", "y")], "no validation texts"),
    ],
)
def test_unusable_texts_are_named(texts: list[tuple[str, str | None]], reason: str, tmp_path: Path) -> None:
    write_texts(tmp_path, texts)
    content = (encoder_folder("minilm-l6") / "tokenizer.json").read_bytes()
    with pytest.raises(JobError, match=reason) as caught:
        read_texts(tmp_path, content, 16)
    assert caught.value.failure_class == "user_code"


def test_more_tokens_than_the_encoder_reads_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, max_length=65) == FAILED_EXIT_CODE
    (failed,) = Told.parse(capsys.readouterr().out).of(JobFailed)
    assert "at most 64 tokens" in failed.failure.reason


def test_an_encoder_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(JobError, match="is not installed"):
        encoder_folder("minilm-l6")
