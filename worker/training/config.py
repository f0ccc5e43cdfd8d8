"""Parameters of a training job: names, bounds and defaults. Imports no torch, so anyone may read it."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from worker.jobprocess import JobError

Fraction = Annotated[float, Meta(ge=0, lt=1)]


class Augmentation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Random changes to each training image, on the device (kornia).

    rotation_degrees: uniform in ±degrees. translate: up to this fraction of width and height, each way.
    scale_minimum, scale_maximum: uniform factor. crop_padding: pixels of padding around a random crop of
    the original size; 0 = no crop. horizontal_flip: mirror half of the images (not for digits or text).
    """

    enabled: bool = True
    rotation_degrees: Annotated[float, Meta(ge=0, le=180)] = 12.0
    translate: Annotated[float, Meta(ge=0, le=0.5)] = 0.08
    scale_minimum: Annotated[float, Meta(gt=0, le=1)] = 0.9
    scale_maximum: Annotated[float, Meta(ge=1, le=4)] = 1.1
    crop_padding: Annotated[int, Meta(ge=0, le=64)] = 0
    horizontal_flip: bool = False


class EarlyStopping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop after `patience` epochs whose `metric` is not better than the best by more than `min_delta`.

    `metric` also says which epoch's weights are the best, with or without early stopping. The loss tells epochs
    apart whose counts of right answers are equal.
    """

    enabled: bool = True
    patience: Annotated[int, Meta(ge=1, le=10_000)] = 6
    min_delta: Annotated[float, Meta(ge=0, le=100)] = 0.0
    metric: Literal["validation/accuracy", "validation/loss"] = "validation/loss"


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be chosen for `image-classification`.

    width: channels of the first convolution, doubled in the second. precision `auto`: bf16 where the device
    computes it natively, else fp16 on a GPU and fp32 on a CPU. warmup: fraction of all steps. A checkpoint is
    written every `checkpoint_every_seconds` and after every `checkpoint_every_epochs`-th epoch, where given.
    """

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 15
    batch_size: Annotated[int, Meta(ge=2, le=65_536)] = 64
    learning_rate: Annotated[float, Meta(gt=0, le=10)] = 3e-3
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: Fraction = 0.2
    label_smoothing: Fraction = 0.0
    architecture: Literal["small-cnn"] = "small-cnn"
    width: Annotated[int, Meta(ge=4, le=256)] = 32
    hidden: Annotated[int, Meta(ge=8, le=4096)] = 128
    dropout: Fraction = 0.25
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    augmentation: Augmentation = Augmentation()
    early_stopping: EarlyStopping = EarlyStopping()
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    log_every_steps: Annotated[int, Meta(ge=1, le=10_000)] = 10
    checkpoint_every_epochs: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    checkpoint_every_seconds: Annotated[float, Meta(gt=0, le=86_400)] | None = 15.0


class TextHyperparameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be chosen for `text-classification`: the fine-tuning of a pretrained encoder.

    max_length: tokens of a text that are read, the two that mark its ends included. Everything else is as for images;
    a checkpoint holds three values per weight, so it is written less often.
    """

    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 2
    batch_size: Annotated[int, Meta(ge=2, le=65_536)] = 32
    learning_rate: Annotated[float, Meta(gt=0, le=10)] = 2e-4
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: Fraction = 0.1
    label_smoothing: Fraction = 0.0
    encoder: Literal["minilm-l6"] = "minilm-l6"
    max_length: Annotated[int, Meta(ge=8, le=512)] = 128
    dropout: Fraction = 0.1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    early_stopping: EarlyStopping = EarlyStopping()
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    log_every_steps: Annotated[int, Meta(ge=1, le=10_000)] = 10
    checkpoint_every_epochs: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    checkpoint_every_seconds: Annotated[float, Meta(gt=0, le=86_400)] | None = 120.0


Settings = Hyperparameters | TextHyperparameters


class TrainingParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="algorithm"):
    """`parameters` of a job of kind `training`, told apart by `algorithm`."""


class ImageTraining(TrainingParameters, frozen=True, kw_only=True, tag="image-classification"):
    """A classifier of images, from random weights."""

    hyperparameters: Hyperparameters = Hyperparameters()


class TextTraining(TrainingParameters, frozen=True, kw_only=True, tag="text-classification"):
    """A classifier of texts, from a pretrained encoder."""

    hyperparameters: TextHyperparameters = TextHyperparameters()


def read_parameters(parameters: dict[str, Any]) -> ImageTraining | TextTraining:
    """Checked parameters; raises JobError (user_code) that names the field and its bound."""
    try:
        return msgspec.convert(parameters, ImageTraining | TextTraining)
    except msgspec.ValidationError as error:
        raise JobError(
            "user_code",
            f"The training parameters are not valid: {error}",
            "Correct the named field and create the job again.",
        ) from error
