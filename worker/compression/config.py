"""Parameters of a compression job: names, bounds and defaults."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from worker.jobprocess import JobError

Method = Literal[
    "static-int8", "dynamic-int8", "weight-only-int8", "weight-only-int4", "fp16", "bf16", "fp8", "none"
]  # fmt: skip


class Pruning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is taken away before quantization, and the training afterwards that makes up for it.

    kind: `structured` removes whole channels and neurons, so that the model is smaller and faster; `magnitude` sets
    the smallest weights to zero, which makes only the file smaller. amount: the share removed. epochs: of fine-tuning
    on the train split; the best on validation by its loss is kept.
    """

    kind: Literal["none", "structured", "magnitude"] = "none"
    amount: Annotated[float, Meta(gt=0, le=0.95)] = 0.5
    epochs: Annotated[int, Meta(ge=0, le=1000)] = 3
    learning_rate: Annotated[float, Meta(gt=0, le=10)] = 1e-3
    batch_size: Annotated[int, Meta(ge=2, le=65_536)] = 64


class CompressionParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`parameters` of a job of kind `compression`.

    method: see `worker.compression.methods`; `none` only prunes. max_accuracy_loss_points: percentage points of
    validation accuracy that may be lost. minimum_speedup: latency before / after, one input at a time, that must be
    reached; None: what the method promises. minimum_throughput_speedup: inputs/s in batches, after / before.
    minimum_size_ratio: bytes before / after. fallback: layers that lose too much stay in float, the most sensitive
    first. calibration_images: how many of the train split, chosen by `seed`. calibration: how ranges are found;
    `percentile` ignores the outermost 0.001 %.
    """

    method: Method = "static-int8"
    pruning: Pruning = Pruning()
    max_accuracy_loss_points: Annotated[float, Meta(ge=0, le=100)] = 0.5
    minimum_speedup: Annotated[float, Meta(ge=0, le=1000)] | None = None
    minimum_throughput_speedup: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    minimum_size_ratio: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    fallback: bool = True
    calibration_images: Annotated[int, Meta(ge=1, le=100_000)] = 512
    calibration: Literal["minmax", "percentile"] = "minmax"
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


def read_parameters(parameters: dict[str, Any]) -> CompressionParameters:
    """Checked parameters; raises JobError (user_code) that names the field and its bound."""
    try:
        found = msgspec.convert(parameters, CompressionParameters)
    except msgspec.ValidationError as error:
        raise JobError(
            "user_code",
            f"The compression parameters are not valid: {error}",
            "Correct the named field and create the job again.",
        ) from error
    if found.method == "none" and found.pruning.kind == "none":
        raise JobError(
            "user_code",
            "The compression parameters ask for nothing: method is none, and so is pruning.kind.",
            "Choose a method or a kind of pruning.",
        )
    return found
