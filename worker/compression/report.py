"""The report of a compression: a file, metrics and log lines, whether the gate opens or not."""

import time
from typing import Any

import msgspec
import onnx
import onnxruntime as ort

from backend.core.wire import MetricSeries
from worker.compression.choice import Choice, limits_of
from worker.compression.config import CompressionParameters
from worker.compression.layers import list_layers
from worker.compression.measure import BATCH
from worker.compression.methods import METHODS
from worker.jobprocess import JobProcess
from worker.training.images import Dataset

FIGURES = ("size_bytes", "latency_ms", "throughput", "accuracy")


def report_of(
    choice: Choice, dataset: Dataset, parameters: CompressionParameters, pruned: dict[str, Any] | None
) -> dict[str, Any]:
    """Size, latency, throughput and accuracy before and after, how they were measured, and what became of layers.

    `pruned`: what pruning took away; None where nobody pruned.
    """
    before, after = msgspec.to_builtins(choice.before), msgspec.to_builtins(choice.after)
    return {
        "method": parameters.method,
        "plan": choice.plan.name,
        "accepted": choice.verdict.accepted,
        "objections": choice.verdict.objections,
        **{name: {"before": before[name], "after": after[name]} for name in FIGURES},
        "accuracy_loss_points": choice.verdict.loss_points,
        "speedup": choice.verdict.speedup,
        "throughput_speedup": choice.after.throughput / choice.before.throughput,
        "size_ratio": choice.before.size_bytes / choice.after.size_bytes,
        **msgspec.to_builtins(limits_of(parameters)),
        "measured_on": {
            "split": "validation",
            "images": len(dataset.splits["validation"]),
            "latency_batch": 1,
            "throughput_batch": BATCH,
            "threads": 1,
            "onnxruntime": ort.__version__,
        },
        "calibrated_on": _calibration(dataset, parameters),
        "pruned": pruned,
        "float_layers": list(choice.plan.kept),
        "sensitivity": msgspec.to_builtins(choice.sensitivity),
        "layers": msgspec.to_builtins(list_layers(onnx.load(choice.path), sparse=pruned is not None)),
    }


def _calibration(dataset: Dataset, parameters: CompressionParameters) -> dict[str, Any] | None:
    if not METHODS[parameters.method].calibrated:
        return None
    return {
        "split": "train",
        "images": min(parameters.calibration_images, len(dataset.splits["train"])),
        "method": parameters.calibration,
    }


def tell(process: JobProcess, report: dict[str, Any]) -> None:
    """Write and tell it."""
    (process.work_folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    now = time.time()
    series = [
        MetricSeries(name=f"{name}/{when}", steps=[step], values=[float(report[name][when])], times=[now])
        for name in FIGURES
        for step, when in enumerate(("before", "after"))
    ]
    process.metrics(series)
    for name in FIGURES:
        process.log(f"{name}: {report[name]['before']:.6g} before, {report[name]['after']:.6g} after")
    process.log(f"report: {msgspec.json.encode(report).decode()}")
