"""Pruning of the PyTorch model behind an artifact, and the fine-tuning that makes up for it.

structured: whole channels of convolutions and neurons of linear layers go, the ones of the smallest norm, with all that
depends on them (torch-pruning; Fang et al. 2023, arXiv 2301.12900). Of a text encoder the neurons between the two
products of each layer go, the same number everywhere, so that the encoder can be built again from its numbers.
magnitude: the smallest weights of the whole model become zero and stay it (Han et al. 2015, arXiv 1506.02626); without
a method behind it the file is written sparse where that is smaller, and ONNX Runtime computes as before.

Fine-tuning is a training like any other (`worker.training.trainer`), with its checkpoints: an interrupted one prunes
again, which gives the same model, and goes on where it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch_pruning
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune

from worker.compression.config import CompressionParameters, Pruning
from worker.compression.inputs import Original
from worker.jobprocess import JobError, JobProcess
from worker.training.config import Hyperparameters, Settings, TextHyperparameters
from worker.training.encoders import EncoderArchitecture, EncoderShape, TextClassifier
from worker.training.export import export_artifact
from worker.training.images import Dataset
from worker.training.memory import memory_failures
from worker.training.models import Architecture, SmallCnn
from worker.training.tasks import Built, Classifier
from worker.training.trainer import Trainer

COMPARED = 256
ROUND_TO = 4
"""Channels and neurons are kept in fours: kernels compute odd ones no faster."""


def prune_and_tune(
    process: JobProcess, original: Original, dataset: Dataset, parameters: CompressionParameters, folder: Path
) -> dict[str, Any]:
    """Write the pruned artifact to `folder`; answers what was taken away. Raises JobError and JobStopped."""
    wanted = parameters.pruning
    architecture, model = rebuild(original)
    before = _count(model)
    if wanted.kind == "structured":
        architecture = prune_structure(architecture, model, wanted.amount)
    else:
        prune_weights(model, wanted.amount)
    with memory_failures():
        if wanted.epochs:
            _tune(process, Built(architecture, model), dataset, parameters)
    for module, name in _masked(model):
        prune.remove(module, name)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    model = model.cpu().eval()
    images = dataset.splits["validation"].images[:COMPARED]
    export_artifact(folder, model, architecture, dataset.classes, images, dataset.tokenizer_file)
    told = {"kind": wanted.kind, "amount": wanted.amount, "epochs": wanted.epochs}
    return told | {"weights_before": before, "weights_after": _count(model)}


def rebuild(original: Original) -> tuple[Architecture | EncoderArchitecture, Classifier]:
    """The model with its weights, on the CPU. Raises JobError (user_code) where the artifact does not say enough."""
    path = original.folder / "model.safetensors"
    said = original.signature.get("architecture")
    if not path.exists() or not isinstance(said, dict):
        raise JobError(
            "user_code",
            "The model version has no PyTorch weights, and pruning trains them.",
            "Prune the version that a training job registered, or choose a method without pruning.",
        )
    try:
        architecture = _architecture(original, said)
        model = SmallCnn(architecture) if isinstance(architecture, Architecture) else TextClassifier(architecture)
        model.load_state_dict(load_file(path))
    except (LookupError, ArithmeticError, TypeError, ValueError, RuntimeError) as error:
        raise JobError("user_code", f"The model cannot be built again from its artifact: {error}", None) from error
    return architecture, model


def _architecture(original: Original, said: dict[str, Any]) -> Architecture | EncoderArchitecture:
    classes = len(original.classes)
    if original.max_length is not None:
        shape = msgspec.convert({name: said[name] for name in EncoderShape.__dataclass_fields__}, EncoderShape)
        return EncoderArchitecture(str(said["name"]), shape, original.max_length, classes, float(said["dropout"]))
    channels, height, width = original.shape[1:]
    return msgspec.convert(
        said | {"image_shape": (channels, height, width), "classes": classes, "name": str(said["name"])}, Architecture
    )


def prune_structure(
    architecture: Architecture | EncoderArchitecture, model: Classifier, amount: float
) -> Architecture | EncoderArchitecture:
    """Remove `amount` of the channels and neurons of each layer, in place; what is left, as an architecture."""
    if isinstance(architecture, Architecture):
        _remove(model, torch.zeros(1, *architecture.image_shape), amount, [model.head])
        kept = [block.convolution.out_channels for block in model.blocks]  # type: ignore[union-attr]  # Block's
        return replace(architecture, channels=tuple(kept), hidden=model.hidden.out_features)  # type: ignore[union-attr, arg-type]
    wide = {layer.wide for layer in model.encoder.layers}  # type: ignore[union-attr]
    others: list[nn.Module] = [one for one in model.modules() if isinstance(one, nn.Linear) and one not in wide]
    others += [one for one in model.modules() if isinstance(one, nn.Embedding | nn.LayerNorm)]
    _remove(model, torch.ones(1, 8, dtype=torch.int64), amount, others)
    neurons = model.encoder.layers[0].wide.out_features  # type: ignore[union-attr, index]
    return replace(architecture, shape=replace(architecture.shape, intermediate_size=neurons))


def _remove(model: Classifier, example: torch.Tensor, amount: float, whole: list[Any]) -> None:
    """Groups of dependent layers, smallest norms first; the outputs of `whole` stay."""
    model.eval()
    torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=amount,
        ignored_layers=whole,
        round_to=ROUND_TO,
    ).step()


def prune_weights(model: Classifier, amount: float) -> None:
    """Mask the `amount` of smallest weights of all convolutions and linear layers, together."""
    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    prune.global_unstructured([(one, "weight") for one in layers], pruning_method=prune.L1Unstructured, amount=amount)


def _masked(model: nn.Module) -> list[tuple[nn.Module, str]]:
    return [(one, "weight") for one in model.modules() if hasattr(one, "weight_mask")]


def _tune(process: JobProcess, built: Built, dataset: Dataset, parameters: CompressionParameters) -> None:
    """Train on; the weights of the best epoch are then those of the model."""
    settings = _settings(built.architecture, parameters.pruning, parameters.seed)
    trainer = Trainer(process, settings, dataset, built=built)
    trainer.train()
    built.model.load_state_dict(trainer.best_weights)


def _settings(architecture: Architecture | EncoderArchitecture, wanted: Pruning, seed: int) -> Settings:
    common: dict[str, Any] = {
        "epochs": wanted.epochs,
        "batch_size": wanted.batch_size,
        "learning_rate": wanted.learning_rate,
        "early_stopping": {"enabled": False},
        "seed": seed,
    }
    if isinstance(architecture, EncoderArchitecture):
        return msgspec.convert(common | {"max_length": architecture.max_length}, TextHyperparameters)
    return msgspec.convert(common, Hyperparameters)


def _count(model: nn.Module) -> int:
    """Weights that are not zero."""
    return sum(int(torch.count_nonzero(one)) for one in model.parameters())
