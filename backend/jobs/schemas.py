"""What the job engine takes and gives."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.core.fields import ResourceName, Tags

Market = Literal["on-demand", "spot"]
MAX_RUNTIME_SECONDS = 28 * 86_400
MAX_KEEP_ALIVE_SECONDS = 3600


class JobRequest(BaseModel):
    """What every kind of job asks for."""

    model_config = ConfigDict(extra="forbid")

    project_id: UUID
    name: ResourceName
    instance_type: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9.\-]+$")] = "local.cpu"
    market: Market = "on-demand"
    max_attempts: Annotated[int, Field(ge=1, le=20, description="tries after interruptions")] = 3
    max_runtime_seconds: Annotated[int, Field(ge=1, le=MAX_RUNTIME_SECONDS)] = 86_400
    keep_alive_seconds: Annotated[
        int, Field(ge=0, le=MAX_KEEP_ALIVE_SECONDS, description="warm pool afterwards, billed")
    ] = 0
    tags: Tags = Field(default_factory=dict)


class SleepParameters(BaseModel):
    """Of the diagnostic job kind."""

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    fail_with: Annotated[str, Field(max_length=1000)] | None = None
    memory_bytes: Annotated[int, Field(ge=0, le=2**40)] = 0


class SleepJobCreate(JobRequest):
    """A diagnostic job that only sleeps."""

    parameters: SleepParameters = SleepParameters()


class Progress(BaseModel):
    """How far. `total_steps` 0 = unknown."""

    step: int
    total_steps: int
    phase: str


class JobRead(BaseModel):
    """A job."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    project_id: UUID
    kind: str
    name: str
    status: str
    status_reason: str
    progress: Progress | None
    parameters: dict[str, Any]
    inputs: dict[str, Any]
    output: dict[str, Any]
    failure: dict[str, Any] | None
    instance_type: str
    market: str
    max_attempts: int
    max_runtime_seconds: int
    keep_alive_seconds: int
    attempt_count: int
    stop_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    first_step_at: datetime | None
    ended_at: datetime | None
    created_by: str
    tags: dict[str, str]


class AttemptRead(BaseModel):
    """One try of a job."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    number: int
    status: str
    status_reason: str
    instance_id: UUID
    resumed_from_step: int | None
    failure: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Attempts(BaseModel):
    """First to last."""

    items: list[AttemptRead]


class EventRead(BaseModel):
    """One status change."""

    model_config = ConfigDict(from_attributes=True)

    resource_kind: str
    resource_id: UUID
    at: datetime
    from_status: str | None
    to_status: str
    reason: str
    actor: str


class Events(BaseModel):
    """Oldest first."""

    items: list[EventRead]


class CheckpointRead(BaseModel):
    """A complete checkpoint."""

    model_config = ConfigDict(from_attributes=True)

    step: int
    attempt_id: UUID
    created_at: datetime


class Checkpoints(BaseModel):
    """By step."""

    items: list[CheckpointRead]


class SeriesRead(BaseModel):
    """Points of one metric as columns, same length each. Times are Unix seconds."""

    steps: list[int]
    values: list[float | None]
    times: list[float]


class MetricsRead(BaseModel):
    """Series by name."""

    series: dict[str, SeriesRead]


class UtilisationSummaryRead(BaseModel):
    """Over all samples of an attempt: means, peaks and sums. GPU figures are null where no GPU was measured."""

    model_config = ConfigDict(from_attributes=True)

    measured_seconds: float
    cpu_cores_mean: float
    cpu_cores_peak: float
    memory_bytes_peak: float
    read_bytes: Annotated[float, Field(description="from disks; what the page cache held is not read again")]
    written_bytes: float
    gpu_share_mean: Annotated[float | None, Field(description="0 to 1, of the time in which a kernel ran")]
    gpu_memory_bytes_peak: float | None


class AttemptUtilisation(BaseModel):
    """What one attempt used of its instance, as columns of the same length, oldest first.

    `times` are Unix seconds at which a sample ends, `spans` the seconds it covers. Cores, bytes per second and the
    GPUs' share are means over the span; memory is the highest held at the end of the samples merged into it.
    """

    model_config = ConfigDict(from_attributes=True)

    attempt: int
    attempt_id: UUID
    cpu_count: Annotated[float, Field(description="cores that it may use")]
    memory_limit_bytes: int
    gpu_count: int
    gpu_memory_limit_bytes: int
    summary: UtilisationSummaryRead
    times: list[float]
    spans: list[float]
    cpu_cores: list[float]
    memory_bytes: list[float]
    read_bytes_per_second: list[float]
    written_bytes_per_second: list[float]
    gpu_share: list[float | None]
    gpu_memory_bytes: list[float | None]


class UtilisationRead(BaseModel):
    """By attempt, first to last; attempts that were not measured are left out."""

    items: list[AttemptUtilisation]


class LogLineRead(BaseModel):
    """One line of output. `time` is Unix seconds."""

    attempt: int
    time: float
    text: str


class LogRead(BaseModel):
    """A page of the log. Pass `next_after` as `after` for what follows; `more` = there is more now."""

    lines: list[LogLineRead]
    next_after: UUID | None
    more: bool
