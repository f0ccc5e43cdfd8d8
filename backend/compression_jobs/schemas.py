"""What a compression job takes. The bounds are the compressor's own; a test keeps the two equal."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.billing.schemas import CURRENCY, Exact
from backend.core.fields import ResourceName
from backend.jobs.schemas import JobRequest


class CompressionParameters(BaseModel):
    """How to compress, and what may be lost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: Literal["static-int8"] = "static-int8"
    max_accuracy_loss_points: Annotated[float, Field(ge=0, le=100, description="percentage points")] = 0.5
    minimum_speedup: Annotated[float, Field(ge=0, le=1000, description="latency before / after")] = 1.0
    calibration_images: Annotated[int, Field(ge=1, le=100_000)] = 512
    calibration: Literal["minmax", "percentile"] = "minmax"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


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
