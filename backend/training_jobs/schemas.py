"""What a training job takes. The bounds are the trainer's own; a test keeps the two equal."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.billing.schemas import CURRENCY, Exact
from backend.core.fields import Flag, ResourceName
from backend.jobs.schemas import JobRequest

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Strict(BaseModel):
    """Refuses what it does not know, and infinities."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Augmentation(Strict):
    """Random changes to each training image, on the device."""

    enabled: Flag = True
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 12.0
    translate: Annotated[float, Field(ge=0, le=0.5, description="fraction of width and height")] = 0.08
    scale_minimum: Annotated[float, Field(gt=0, le=1)] = 0.9
    scale_maximum: Annotated[float, Field(ge=1, le=4)] = 1.1
    crop_padding: Annotated[int, Field(ge=0, le=64)] = 0
    horizontal_flip: Flag = False


class EarlyStopping(Strict):
    """Stop after `patience` epochs without a better `metric`, which also says which weights are best."""

    enabled: Flag = True
    patience: Annotated[int, Field(ge=1, le=10_000)] = 6
    min_delta: Annotated[float, Field(ge=0, le=100)] = 0.0
    metric: Literal["validation/accuracy", "validation/loss"] = "validation/loss"


class Hyperparameters(Strict):
    """Of `image-classification`."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 15
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: Fraction = 0.2
    label_smoothing: Fraction = 0.0
    architecture: Literal["small-cnn"] = "small-cnn"
    width: Annotated[int, Field(ge=4, le=256)] = 32
    hidden: Annotated[int, Field(ge=8, le=4096)] = 128
    dropout: Fraction = 0.25
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    augmentation: Augmentation = Augmentation()
    early_stopping: EarlyStopping = EarlyStopping()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    log_every_steps: Annotated[int, Field(ge=1, le=10_000)] = 10
    checkpoint_every_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    checkpoint_every_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = 15.0


class TextHyperparameters(Strict):
    """Of `text-classification`: the fine-tuning of a pretrained encoder."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 2
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 2e-4
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-2
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Fraction = 0.9
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: Fraction = 0.1
    label_smoothing: Fraction = 0.0
    encoder: Literal["minilm-l6"] = "minilm-l6"
    max_length: Annotated[int, Field(ge=8, le=512, description="tokens of a text that are read")] = 128
    dropout: Fraction = 0.1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    early_stopping: EarlyStopping = EarlyStopping()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    log_every_steps: Annotated[int, Field(ge=1, le=10_000)] = 10
    checkpoint_every_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    checkpoint_every_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = 120.0


class TrainingJobCreate(JobRequest):
    """Train a model on a dataset version and register what comes of it.

    `image-classification` reads `hyperparameters`, `text-classification` reads `text_hyperparameters`.
    """

    algorithm: Literal["image-classification", "text-classification"] = "image-classification"
    dataset_version_id: UUID
    model_name: ResourceName
    hyperparameters: Hyperparameters = Hyperparameters()
    text_hyperparameters: TextHyperparameters = TextHyperparameters()

    @model_validator(mode="after")
    def _gives_the_algorithms_own(self) -> Self:
        idle = "hyperparameters" if self.algorithm == "text-classification" else "text_hyperparameters"
        if getattr(self, idle) != type(self).model_fields[idle].default:
            raise ValueError(f"{self.algorithm} does not read {idle}")
        return self

    @property
    def settings(self) -> Hyperparameters | TextHyperparameters:
        """Those of the algorithm."""
        return self.text_hyperparameters if self.algorithm == "text-classification" else self.hyperparameters


class TrainingEstimateRequest(TrainingJobCreate):
    """A training job as it would be started; its name and the model's need not be known yet."""

    name: ResourceName = "estimate"
    model_name: ResourceName = "estimate"


class TrainingEstimate(BaseModel):
    """What a training job is expected to take: the spread of like jobs.

    Without like jobs there is no expectation, and without a price no amount (null): what is then known is the most it
    may run and cost, if every attempt runs to the limit. Money is exact; `amount_high` counts the warm pool afterwards.
    """

    like_jobs: Annotated[int, Field(description="completed jobs that this is told from")]
    seconds_low: float | None
    seconds_high: float | None
    currency: str = CURRENCY
    price_per_second: Exact | None
    amount_low: Exact | None
    amount_high: Exact | None
    at_most_seconds: Annotated[int, Field(description="all attempts at the runtime limit")]
    at_most_amount: Exact | None
