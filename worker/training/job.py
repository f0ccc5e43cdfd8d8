"""A training job from its parameters to its artifact."""

import time
from pathlib import Path
from typing import Any

import msgspec
import torch

from worker.jobprocess import JobProcess
from worker.training.batches import DeviceSplit
from worker.training.config import ImageTraining, TextTraining, read_parameters
from worker.training.data import read_dataset
from worker.training.evaluation import evaluate
from worker.training.findings import Findings, held_out
from worker.training.images import Dataset
from worker.training.memory import memory_failures
from worker.training.models import parameter_count
from worker.training.precision import Compute
from worker.training.tasks import Classifier
from worker.training.trainer import Trainer

COMPARED_IMAGES = 256


def train_and_export(process: JobProcess) -> None:
    """The whole life of an attempt. Raises JobError and JobStopped."""
    parameters = read_parameters(process.spec.parameters)
    with memory_failures():
        process.progress(process.spec.resume_step or 0, 0, "reading the dataset")
        began = time.monotonic()
        dataset = _read(process, parameters)
        taken = time.monotonic() - began
        trainer = Trainer(process, parameters.hyperparameters, dataset)
        process.log(f"Read {sum(map(len, dataset.splits.values()))} {trainer.task.items} in {taken:.2f} s.")
        trainer.train()
        process.progress(trainer.position.step, trainer.total_steps, "exporting the model")
        model = best_model(trainer)
        folder = _export(process, trainer, model, dataset)
        summary = _summary(trainer, model, dataset, folder)
    process.log(
        f"Best epoch {summary['best_epoch']}: "
        + ", ".join(f"{name} {value:.4f}" for name, value in summary["metrics"].items())
    )
    process.result_written(folder, summary)


def _read(process: JobProcess, parameters: ImageTraining | TextTraining) -> Dataset:
    folder = process.input_folder("training")
    if isinstance(parameters, ImageTraining):
        return read_dataset(folder)
    # Other libraries than images need, loaded only where they are used.
    from worker.training.encoders import TOKENIZER, encoder_folder  # noqa: PLC0415 - see above
    from worker.training.texts import read_texts  # noqa: PLC0415 - see above

    settings = parameters.hyperparameters
    return read_texts(folder, (encoder_folder(settings.encoder) / TOKENIZER).read_bytes(), settings.max_length)


def best_model(trainer: Trainer) -> Classifier:
    """A model on the CPU, fp32, with the best weights."""
    model = trainer.architecture.build()
    model.load_state_dict(trainer.best_weights)
    return model.eval()


def _export(process: JobProcess, trainer: Trainer, model: Classifier, dataset: Dataset) -> Path:
    # The exporter and ONNX Runtime take a second to import; the first step should not wait for them.
    from worker.training.export import export_artifact  # noqa: PLC0415 - see above

    folder = process.work_folder / "artifact"
    images = dataset.splits["validation"].images[:COMPARED_IMAGES]
    export_artifact(folder, model, trainer.architecture, dataset.classes, images, dataset.tokenizer_file)
    return folder


def _summary(trainer: Trainer, model: Classifier, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """What the registry keeps of the model; `evaluation.json` joins the artifact on the way. Accuracies are
    fractions, measured in fp32 with the best weights.
    """
    compute = Compute(torch.device("cpu"), "fp32")
    findings, told = Findings.of(dataset), held_out(dataset.splits)
    metrics: dict[str, float] = {}
    for name, split in dataset.splits.items():
        if name == "train" or not len(split):
            continue
        each = findings.add if name == told else None
        measured = evaluate(model, DeviceSplit(split, compute.device), compute, each=each)
        metrics |= {f"{name}_accuracy": measured.accuracy, f"{name}_loss": measured.loss}
    findings.write(folder)
    return {
        "signature": msgspec.json.decode((folder / "signature.json").read_bytes()),
        "metrics": metrics,
        "classes": dataset.classes,
        "parameters": parameter_count(model),
        "epochs_run": trainer.position.epoch,
        "best_epoch": trainer.position.best_epoch,
        "steps": trainer.position.step,
        "precision": trainer.compute.precision,
        "device": trainer.compute.device.type,
        "training_seconds": trainer.seconds,
        "size_bytes": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
