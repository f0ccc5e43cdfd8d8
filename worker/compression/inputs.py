"""What a compression is given: a model version's artifact and the dataset it is measured on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from worker.jobprocess import JobError, JobProcess
from worker.training.data import read_dataset
from worker.training.images import Dataset, ImageDataset, Split

TOKENIZER = "tokenizer.json"


class _Tensor(msgspec.Struct, frozen=True):
    shape: list[int]


class _Tokenizer(msgspec.Struct, frozen=True):
    max_length: int


class _Preprocessing(msgspec.Struct, frozen=True):
    tokenizer: _Tokenizer | None = None


class _Signature(msgspec.Struct, frozen=True):
    """What a compression reads of `signature.json`."""

    inputs: list[_Tensor]
    precision: str = ""
    classes: list[str] = []
    preprocessing: _Preprocessing = _Preprocessing()


@dataclass(frozen=True)
class Original:
    """The model to compress. signature: all of `signature.json`. max_length: of tokens; None for images."""

    folder: Path
    signature: dict[str, Any]
    classes: list[str]
    shape: list[int]
    max_length: int | None

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / "model.onnx"


def read_original(folder: Path) -> Original:
    """The model version; raises JobError (user_code) where there is nothing to compress."""
    for name in ("model.onnx", "signature.json"):
        if not (folder / name).exists():
            raise JobError("user_code", f"The model version has no {name}.", "Choose one that has.")
    content = (folder / "signature.json").read_bytes()
    try:
        whole = msgspec.json.decode(content, type=dict[str, Any])
        said = msgspec.convert(whole | {"inputs": whole.get("inputs", [])}, _Signature)
    except msgspec.DecodeError as error:
        raise JobError("user_code", f"The model version's signature cannot be read: {error}", None) from error
    if said.precision != "fp32" or not said.classes:
        raise JobError(
            "user_code",
            "The model version is not an fp32 classifier.",
            "Compress the version that a training job registered.",
        )
    if len(said.inputs) != 1:
        raise JobError("user_code", f"The model takes {len(said.inputs)} inputs, and one is needed.", None)
    tokenizer = said.preprocessing.tokenizer
    length = tokenizer.max_length if tokenizer is not None else None
    if length is not None and not (folder / TOKENIZER).exists():
        raise JobError("user_code", f"The model version has no {TOKENIZER}.", "Choose one that has.")
    return Original(folder, whole, said.classes, said.inputs[0].shape, length)


def read_examples(process: JobProcess, original: Original) -> Dataset:
    """The dataset, with labels as indices into the model's own classes. Raises JobError."""
    folder = process.input_folder("dataset")
    if original.max_length is None:
        dataset: Dataset = read_dataset(folder)
        _check_shape(dataset, original)
    else:
        from worker.training.texts import read_texts  # noqa: PLC0415 - only texts need a tokenizer

        dataset = read_texts(folder, (original.folder / TOKENIZER).read_bytes(), original.max_length)
    unknown = sorted(set(dataset.classes) - set(original.classes))
    if unknown:
        raise JobError("user_code", f"The model does not know the class {unknown[0]!r}.", None)
    places = np.array([original.classes.index(label) for label in dataset.classes], dtype=np.int64)
    splits = {name: Split(one.images, places[one.labels], one.files) for name, one in dataset.splits.items()}
    return replace(dataset, classes=original.classes, splits=splits)


def _check_shape(dataset: Dataset, original: Original) -> None:
    expected = tuple(original.shape[1:])
    if isinstance(dataset, ImageDataset) and dataset.image_shape != expected:
        raise JobError(
            "user_code",
            f"The dataset's images are {dataset.image_shape}, and the model takes {expected}.",
            "Choose the dataset that the model was trained on.",
        )
