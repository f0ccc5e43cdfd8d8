"""A compression job from its parameters to its artifact or its refusal."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from backend.core.wire import MetricSeries
from worker.compression.config import CompressionParameters, read_parameters
from worker.compression.gate import Measured, Verdict, judge
from worker.compression.layers import list_layers
from worker.compression.measure import BATCH, answers, measure, open_session
from worker.compression.quantize import PLANS, Plan, prepare, quantize
from worker.jobprocess import JobError, JobProcess, JobStopped
from worker.training.data import read_dataset
from worker.training.findings import EvaluationFile, Findings, held_out
from worker.training.images import ImageDataset, Split

STAGES = 3


@dataclass(frozen=True)
class Choice:
    """The best candidate beside the original, and the judgement on it."""

    plan: Plan
    path: Path
    before: Measured
    after: Measured
    verdict: Verdict


def compress(process: JobProcess) -> None:
    """The whole life of an attempt. Raises JobError and JobStopped."""
    parameters = read_parameters(process.spec.parameters)
    source, signature = _read_model(process.input_folder("model"))
    dataset = read_dataset(process.input_folder("dataset"))
    splits = {name: _as_the_model_counts(split, dataset, signature) for name, split in dataset.splits.items()}

    _enter(process, 1, "calibrating and quantizing")
    candidates = _quantize_all(process, source, splits["train"].images, parameters)
    _enter(process, 2, "measuring")
    choice = _choose(source, candidates, splits["validation"], parameters)
    _enter(process, 3, "judging")
    report = _report(choice, splits, parameters)
    _tell(process, report)
    if not choice.verdict.accepted:
        raise JobError(
            "gate",
            f"The int8 model is refused: {'; '.join(choice.verdict.objections)}.",
            "Allow more loss, calibrate on more images, or keep the original.",
        )
    folder = _write_artifact(process.work_folder / "artifact", choice, signature, parameters)
    found = _evaluate(folder, choice.path, splits, signature["classes"])
    metrics = {"validation_accuracy": choice.after.accuracy, f"{found.split}_accuracy": found.accuracy}
    summary = {
        "signature": msgspec.json.decode((folder / "signature.json").read_bytes()),
        "report": report,
        "metrics": metrics,
        "classes": signature["classes"],
    }
    process.result_written(folder, summary)


def _enter(process: JobProcess, stage: int, phase: str) -> None:
    if process.stop_requested:
        raise JobStopped
    process.progress(stage, STAGES, phase)
    process.log(phase.capitalize() + ".")


def _read_model(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The ONNX file and the signature; raises JobError (user_code) where there is nothing to quantize."""
    path, signature_path = folder / "model.onnx", folder / "signature.json"
    for needed in (path, signature_path):
        if not needed.exists():
            raise JobError("user_code", f"The model version has no {needed.name}.", "Choose one that has.")
    signature = msgspec.json.decode(signature_path.read_bytes(), type=dict[str, Any])
    if signature.get("precision") != "fp32" or not signature.get("classes"):
        raise JobError(
            "user_code",
            "The model version is not an fp32 classifier.",
            "Compress the version that a training job registered.",
        )
    return path, signature


def _as_the_model_counts(split: Split, dataset: ImageDataset, signature: dict[str, Any]) -> Split:
    """The split with labels as indices into the model's own classes."""
    expected = tuple(signature["inputs"][0]["shape"][1:])
    if dataset.image_shape != expected:
        raise JobError(
            "user_code",
            f"The dataset's images are {dataset.image_shape}, and the model takes {expected}.",
            "Choose the dataset that the model was trained on.",
        )
    unknown = sorted(set(dataset.classes) - set(signature["classes"]))
    if unknown:
        raise JobError("user_code", f"The model does not know the class {unknown[0]!r}.", None)
    places = np.array([signature["classes"].index(label) for label in dataset.classes], dtype=np.int64)
    return Split(split.images, places[split.labels], split.files)


def _quantize_all(
    process: JobProcess, source: Path, images: NDArray[np.uint8], parameters: CompressionParameters
) -> dict[Plan, Path]:
    """One file per plan, calibrated on a seeded choice of the training images."""
    order = np.random.default_rng(parameters.seed).permutation(len(images))
    chosen = images[np.sort(order[: parameters.calibration_images])]
    folder = process.work_folder / "candidates"
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / "prepared.onnx"
    prepare(source, prepared)
    candidates = {}
    for plan in PLANS:
        candidates[plan] = folder / f"{plan.name}.onnx"
        quantize(prepared, candidates[plan], plan, chosen, parameters.calibration)
    return candidates


def _choose(source: Path, candidates: dict[Plan, Path], validation: Split, parameters: CompressionParameters) -> Choice:
    """The fastest accepted candidate; if none is accepted, the one that loses the least."""
    paths = {"before": source} | {plan.name: path for plan, path in candidates.items()}
    measured = measure(paths, validation)
    before = measured["before"]
    choices = []
    for plan, path in candidates.items():
        verdict = judge(
            before,
            measured[plan.name],
            max_accuracy_loss_points=parameters.max_accuracy_loss_points,
            minimum_speedup=parameters.minimum_speedup,
        )
        choices.append(Choice(plan, path, before, measured[plan.name], verdict))
    accepted = [choice for choice in choices if choice.verdict.accepted]
    if accepted:
        return max(accepted, key=lambda choice: choice.verdict.speedup)
    return min(choices, key=lambda choice: (choice.verdict.loss_points, -choice.verdict.speedup))


def _report(choice: Choice, splits: dict[str, Split], parameters: CompressionParameters) -> dict[str, Any]:
    """Size, latency, throughput and accuracy before and after, and how they were measured."""
    before, after = msgspec.to_builtins(choice.before), msgspec.to_builtins(choice.after)
    return {
        "method": parameters.method,
        "plan": choice.plan.name,
        "accepted": choice.verdict.accepted,
        "objections": choice.verdict.objections,
        **{name: {"before": before[name], "after": after[name]} for name in before},
        "accuracy_loss_points": choice.verdict.loss_points,
        "speedup": choice.verdict.speedup,
        "throughput_speedup": choice.after.throughput / choice.before.throughput,
        "max_accuracy_loss_points": parameters.max_accuracy_loss_points,
        "minimum_speedup": parameters.minimum_speedup,
        "measured_on": {
            "split": "validation",
            "images": len(splits["validation"]),
            "latency_batch": 1,
            "throughput_batch": BATCH,
            "threads": 1,
            "onnxruntime": ort.__version__,
        },
        "calibrated_on": {
            "split": "train",
            "images": min(parameters.calibration_images, len(splits["train"])),
            "method": parameters.calibration,
        },
        "layers": msgspec.to_builtins(list_layers(onnx.load(choice.path))),
    }


def _tell(process: JobProcess, report: dict[str, Any]) -> None:
    """The report reaches its reader whether the gate opens or not: a file, metrics and log lines."""
    (process.work_folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    now = time.time()
    series = [
        MetricSeries(name=f"{name}/{when}", steps=[step], values=[float(report[name][when])], times=[now])
        for name in ("size_bytes", "latency_ms", "throughput", "accuracy")
        for step, when in enumerate(("before", "after"))
    ]
    process.metrics(series)
    for name in ("size_bytes", "latency_ms", "throughput", "accuracy"):
        process.log(f"{name}: {report[name]['before']:.6g} before, {report[name]['after']:.6g} after")
    process.log(f"report: {msgspec.json.encode(report).decode()}")


def _write_artifact(folder: Path, choice: Choice, signature: dict[str, Any], parameters: CompressionParameters) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(choice.path.read_bytes())
    quantization = {
        "method": parameters.method,
        "plan": choice.plan.name,
        "calibration": parameters.calibration,
    }
    versions = signature.get("versions", {}) | {"onnxruntime": ort.__version__}
    changed = signature | {"precision": "int8", "quantization": quantization, "versions": versions}
    (folder / "signature.json").write_bytes(msgspec.json.format(msgspec.json.encode(changed)))
    return folder


def _evaluate(folder: Path, path: Path, splits: dict[str, Split], classes: list[str]) -> EvaluationFile:
    """Write `evaluation.json` of the compressed model beside it."""
    name = held_out(splits)
    findings = Findings(name, splits[name], classes)
    for logits in answers(open_session(path), splits[name].images):
        findings.add(logits)
    return findings.write(folder)
