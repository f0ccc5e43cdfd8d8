"""Parameters of a compression job: names, bounds and defaults."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from worker.jobprocess import JobError


class CompressionParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`parameters` of a job of kind `compression`.

    max_accuracy_loss_points: percentage points of validation accuracy that may be lost. minimum_speedup:
    latency before / after, one image at a time, that must be reached. calibration_images: how many of the
    train split, chosen by `seed`. calibration: how ranges are found; `percentile` ignores the outermost 0.001
    %.
    """

    method: Literal["static-int8"] = "static-int8"
    max_accuracy_loss_points: Annotated[float, Meta(ge=0, le=100)] = 0.5
    minimum_speedup: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    calibration_images: Annotated[int, Meta(ge=1, le=100_000)] = 512
    calibration: Literal["minmax", "percentile"] = "minmax"
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


def read_parameters(parameters: dict[str, Any]) -> CompressionParameters:
    """Checked parameters; raises JobError (user_code) that names the field and its bound."""
    try:
        return msgspec.convert(parameters, CompressionParameters)
    except msgspec.ValidationError as error:
        raise JobError(
            "user_code",
            f"The compression parameters are not valid: {error}",
            "Correct the named field and create the job again.",
        ) from error
