"""What a compression job takes. The bounds are the compressor's own; a test keeps the two equal."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.billing.schemas import CURRENCY, Exact
from backend.core.fields import Flag, ResourceName
from backend.jobs.schemas import JobRequest

Method = Literal[
    "static-int8", "dynamic-int8", "weight-only-int8", "weight-only-int4", "fp16", "bf16", "fp8", "none"
]  # fmt: skip


class Pruning(BaseModel):
    """What is taken away before quantization, and the fine-tuning that makes up for it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Annotated[
        Literal["none", "structured", "magnitude"],
        Field(description="structured: whole channels and neurons go; magnitude: the smallest weights become zero"),
    ] = "none"
    amount: Annotated[float, Field(gt=0, le=0.95, description="the share removed")] = 0.5
    epochs: Annotated[int, Field(ge=0, le=1000, description="of fine-tuning on the train split")] = 3
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64


class CompressionParameters(BaseModel):
    """How to compress, and what may be lost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: Annotated[Method, Field(description="`none`: only pruning")] = "static-int8"
    pruning: Pruning = Pruning()
    max_accuracy_loss_points: Annotated[float, Field(ge=0, le=100, description="percentage points")] = 0.5
    minimum_speedup: (
        Annotated[float, Field(ge=0, le=1000, description="latency before / after; null: what the method promises")]
        | None
    ) = None
    minimum_throughput_speedup: Annotated[
        float, Field(ge=0, le=1000, description="inputs per second in batches, after / before")
    ] = 0.0
    minimum_size_ratio: Annotated[float, Field(ge=0, le=1000, description="bytes before / after")] = 0.0
    fallback: Annotated[Flag, Field(description="layers that lose too much stay in float")] = True
    calibration_images: Annotated[int, Field(ge=1, le=100_000, description="inputs of the train split")] = 512
    calibration: Literal["minmax", "percentile"] = "minmax"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="after")
    def _asks_for_something(self) -> "CompressionParameters":
        if self.method == "none" and self.pruning.kind == "none":
            raise ValueError("method is none and so is pruning.kind: choose a method or a kind of pruning")
        return self


class CompressionJobCreate(JobRequest):
    """Compress a model version; the gate measures on a dataset version (default: the one it was trained on)."""

    model_version_id: UUID
    dataset_version_id: UUID | None = None
    model_name: ResourceName | None = None
    parameters: CompressionParameters = CompressionParameters()


class CompressionEstimateRequest(CompressionJobCreate):
    """A compression job as it would be started; its name need not be known yet."""

    name: ResourceName = "estimate"


class CompressionEstimateRead(BaseModel):
    """What a compression job is expected to take: the median of the newest on the same instance type.

    Without such jobs there is no expectation, and without a price no amount (null): what is then known is the most it
    may cost, if every attempt runs to the limit. Money is exact.
    """

    model_config = ConfigDict(from_attributes=True)

    like_jobs: Annotated[int, Field(description="completed jobs that this is told from")]
    seconds: float | None
    currency: str = CURRENCY
    price_per_second: Exact | None
    amount: Exact | None
    at_most_amount: Exact | None
