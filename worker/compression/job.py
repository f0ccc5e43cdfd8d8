"""A compression job from its parameters to its artifact or its refusal."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort

from worker.compression.choice import Choice, Search
from worker.compression.config import CompressionParameters, read_parameters
from worker.compression.inputs import TOKENIZER, Original, read_examples, read_original
from worker.compression.measure import answers, open_session
from worker.compression.methods import METHODS, Task
from worker.compression.quantize import prepare
from worker.compression.report import report_of, tell
from worker.jobprocess import JobError, JobProcess, JobStopped
from worker.training.findings import EvaluationFile, Findings, held_out
from worker.training.images import Dataset

STAGES = 4
WEIGHTS = "model.safetensors"


def compress(process: JobProcess) -> None:
    """The whole life of an attempt. Raises JobError and JobStopped."""
    # ONNX Runtime's quantizers set up the root logger for themselves and tell of every node.
    logging.getLogger().setLevel(logging.WARNING)
    parameters = read_parameters(process.spec.parameters)
    original = read_original(process.input_folder("model"))
    dataset = read_examples(process, original)
    smaller, pruned = original, None
    if parameters.pruning.kind != "none":
        _enter(process, 1, "pruning")
        smaller, pruned = _prune(process, original, dataset, parameters)
    _enter(process, 2, "compressing")
    choice = _search(process, original, smaller, dataset, parameters)
    _enter(process, 3, "judging")
    report = report_of(choice, dataset, parameters, pruned)
    tell(process, report)
    if not choice.verdict.accepted:
        raise JobError(
            "gate",
            f"The {_words(parameters)} model is refused: {'; '.join(choice.verdict.objections)}.",
            "Allow more loss, ask for less, choose another method, or keep the original.",
        )
    _enter(process, 4, "writing the artifact")
    folder = _write_artifact(process.work_folder / "artifact", choice, smaller, parameters)
    found = _evaluate(folder, choice.path, dataset)
    process.result_written(folder, _summary(folder, choice, found, report))


def _enter(process: JobProcess, stage: int, phase: str) -> None:
    if process.stop_requested:
        raise JobStopped
    process.progress(stage, STAGES, phase)
    process.log(phase.capitalize() + ".")


def _words(parameters: CompressionParameters) -> str:
    pruned = [] if parameters.pruning.kind == "none" else ["pruned"]
    return " ".join([*pruned, *([] if parameters.method == "none" else [METHODS[parameters.method].precision])])


def _prune(
    process: JobProcess, original: Original, dataset: Dataset, parameters: CompressionParameters
) -> tuple[Original, dict[str, Any]]:
    """The pruned and fine-tuned model, still fp32, and what was taken away."""
    # PyTorch takes seconds to load, and only pruning needs it.
    from worker.compression.prune import prune_and_tune  # noqa: PLC0415 - see above

    folder = process.work_folder / "pruned"
    told = prune_and_tune(process, original, dataset, parameters, folder)
    signature = msgspec.json.decode((folder / "signature.json").read_bytes(), type=dict[str, Any])
    return replace(original, folder=folder, signature=original.signature | signature), told


def _search(
    process: JobProcess, original: Original, smaller: Original, dataset: Dataset, parameters: CompressionParameters
) -> Choice:
    """The best candidate; measured against the model that was given, whatever pruning made of it."""
    folder = process.work_folder / "candidates"
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / "prepared.onnx"
    prepare(smaller.path, prepared)
    images = dataset.splits["train"].images
    order = np.random.default_rng(parameters.seed).permutation(len(images))
    task = Task(prepared, images[np.sort(order[: parameters.calibration_images])], parameters)

    def heard(phase: str) -> None:
        _enter(process, 2, phase)

    return Search(task, original.path, dataset.splits["validation"], folder, heard).run()


def _write_artifact(folder: Path, choice: Choice, model: Original, parameters: CompressionParameters) -> Path:
    """`model.onnx` and what belongs to it; the fp32 weights too where they are still those of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(choice.path, folder / "model.onnx")
    for name in (TOKENIZER, *([WEIGHTS] if parameters.method == "none" else [])):
        if (model.folder / name).exists():
            shutil.copyfile(model.folder / name, folder / name)
    compression: dict[str, Any] = {"method": parameters.method, "plan": choice.plan.name}
    if METHODS[parameters.method].calibrated:
        compression["calibration"] = parameters.calibration
    if parameters.pruning.kind != "none":
        compression["pruning"] = {"kind": parameters.pruning.kind, "amount": parameters.pruning.amount}
    changed = model.signature | {
        "precision": METHODS[parameters.method].precision,
        "quantization": compression,
        "versions": model.signature.get("versions", {}) | {"onnxruntime": ort.__version__},
    }
    (folder / "signature.json").write_bytes(msgspec.json.format(msgspec.json.encode(changed)))
    return folder


def _evaluate(folder: Path, path: Path, dataset: Dataset) -> EvaluationFile:
    """Write `evaluation.json` of the compressed model beside it."""
    findings, split = Findings.of(dataset), dataset.splits[held_out(dataset.splits)]
    for logits in answers(open_session(path), split.images):
        findings.add(logits)
    return findings.write(folder)


def _summary(folder: Path, choice: Choice, found: EvaluationFile, report: dict[str, Any]) -> dict[str, Any]:
    signature = msgspec.json.decode((folder / "signature.json").read_bytes())
    return {
        "signature": signature,
        "report": report,
        "metrics": {"validation_accuracy": choice.after.accuracy, f"{found.split}_accuracy": found.accuracy},
        "classes": signature["classes"],
    }
