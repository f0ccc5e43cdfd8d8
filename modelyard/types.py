"""What the API answers, as far as a client uses it. Unknown fields are ignored, so a newer API is understood."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec


class Project(msgspec.Struct, frozen=True):
    """A team's workspace."""

    id: str
    name: str
    description: str
    created_at: datetime
    tags: dict[str, str] = {}


class Dataset(msgspec.Struct, frozen=True):
    """Named data."""

    id: str
    project_id: str
    name: str
    kind: str
    created_at: datetime
    description: str = ""
    tags: dict[str, str] = {}
    created_by: str = ""
    target_column: str | None = None
    column_types: dict[str, str] = {}


class DatasetVersion(msgspec.Struct, frozen=True):
    """An immutable snapshot. `splits`: images, rows or texts per split; `classes`: per label and split."""

    id: str
    dataset_id: str
    number: int
    manifest_sha256: str
    file_count: int
    size_bytes: int
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    split_seed: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    tags: dict[str, str] = {}
    kind: str = "image"
    example_count: int = 0
    target_column: str | None = None


class DatasetFile(msgspec.Struct, frozen=True):
    """A file of a dataset version."""

    path: str
    sha256: str
    size_bytes: int
    label: str
    split: str
    width: int = 0
    height: int = 0


class Upload(msgspec.Struct, frozen=True):
    """An upload in parts, numbered from 1."""

    id: str
    size_bytes: int
    part_size_bytes: int
    part_count: int
    status: str
    file_count: int
    dataset_id: str = ""
    file_name: str = ""
    sha256: str = ""
    status_reason: str = ""
    expires_at: datetime | None = None


class DatasetImport(msgspec.Struct, frozen=True):
    """A file that the platform fetches. `size_bytes` is None until the source has said it."""

    id: str
    dataset_id: str
    source: str
    file_name: str
    status: str
    status_reason: str
    received_bytes: int
    size_bytes: int | None
    file_count: int
    created_at: datetime
    errors: list[dict[str, Any]] = []
    label: str | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.ended_at is not None


class UploadPart(msgspec.Struct, frozen=True):
    """A stored part."""

    number: int
    size_bytes: int
    sha256: str


class Progress(msgspec.Struct, frozen=True):
    """How far a job is; total 0 = unknown."""

    step: int
    total_steps: int
    phase: str


class Job(msgspec.Struct, frozen=True):
    """A job of any kind."""

    id: str
    project_id: str
    kind: str
    name: str
    status: str
    status_reason: str
    progress: Progress | None
    output: dict[str, Any]
    failure: dict[str, Any] | None
    attempt_count: int
    created_at: datetime
    started_at: datetime | None
    first_step_at: datetime | None
    ended_at: datetime | None
    parameters: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    instance_type: str = ""
    market: str = ""
    max_attempts: int = 0
    max_runtime_seconds: int = 0
    keep_alive_seconds: int = 0
    stop_requested_at: datetime | None = None
    created_by: str = ""
    tags: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        """Whether it is completed, failed or stopped."""
        return self.status in ("completed", "failed", "stopped")


class Attempt(msgspec.Struct, frozen=True):
    """One try of a job."""

    id: str
    number: int
    status: str
    status_reason: str
    started_at: datetime | None
    ended_at: datetime | None
    instance_id: str = ""
    resumed_from_step: int | None = None
    failure: dict[str, Any] | None = None
    created_at: datetime | None = None


class LogLine(msgspec.Struct, frozen=True):
    """A line of a job's output. `time` is Unix seconds."""

    attempt: int
    time: float
    text: str


class Series(msgspec.Struct, frozen=True):
    """Points of one metric."""

    steps: list[int]
    values: list[float | None]
    times: list[float]


class UtilisationSummary(msgspec.Struct, frozen=True):
    """Over all samples of an attempt: means, peaks, sums. GPU figures are None where no GPU was measured."""

    measured_seconds: float
    cpu_cores_mean: float
    cpu_cores_peak: float
    memory_bytes_peak: float
    read_bytes: float
    written_bytes: float
    gpu_share_mean: float | None
    gpu_memory_bytes_peak: float | None


class Utilisation(msgspec.Struct, frozen=True):
    """What an attempt used, as columns. `times`: Unix seconds at a sample's end; `spans`: the seconds it covers."""

    attempt: int
    attempt_id: str
    cpu_count: float
    memory_limit_bytes: int
    gpu_count: int
    gpu_memory_limit_bytes: int
    summary: UtilisationSummary
    times: list[float]
    spans: list[float]
    cpu_cores: list[float]
    memory_bytes: list[float]
    read_bytes_per_second: list[float]
    written_bytes_per_second: list[float]
    gpu_share: list[float | None]
    gpu_memory_bytes: list[float | None]


class TrainingEstimate(msgspec.Struct, frozen=True):
    """What a training is expected to take: seconds and US dollars. None = not known."""

    like_jobs: int
    seconds_low: float | None
    seconds_high: float | None
    price_per_second: Decimal | None
    amount_low: Decimal | None
    amount_high: Decimal | None
    at_most_seconds: int
    at_most_amount: Decimal | None


class CompressionEstimate(msgspec.Struct, frozen=True):
    """What a compression is expected to take: seconds and US dollars. None = not known."""

    like_jobs: int
    seconds: float | None
    price_per_second: Decimal | None
    amount: Decimal | None
    at_most_amount: Decimal | None


class ModelFile(msgspec.Struct, frozen=True):
    """A file of an artifact."""

    name: str
    sha256: str
    size_bytes: int


class ModelVersion(msgspec.Struct, frozen=True):
    """An immutable artifact. `size_bytes` is that of `model.onnx`."""

    id: str
    model_id: str
    number: int
    files: list[ModelFile]
    size_bytes: int
    signature: dict[str, Any]
    metrics: dict[str, Any]
    report: dict[str, Any]
    approval_status: str
    job_id: str | None
    dataset_version_id: str | None
    parent_version_id: str | None
    attempt_id: str | None = None
    tags: dict[str, str] = {}
    created_at: datetime | None = None


class Model(msgspec.Struct, frozen=True):
    """A registry entry and its newest version."""

    id: str
    project_id: str
    name: str
    created_at: datetime
    description: str = ""
    tags: dict[str, str] = {}
    created_by: str = ""
    newest_version: ModelVersion | None = None


class Variant(msgspec.Struct, frozen=True):
    """A production variant: its share of the calls is its weight over the sum of all weights."""

    name: str
    model_version_id: str
    weight: float


class EndpointConfig(msgspec.Struct, frozen=True):
    """What stands behind an endpoint."""

    id: str
    number: int
    instance_type: str
    replica_count: int
    processes: int
    variants: list[Variant]


class Replica(msgspec.Struct, frozen=True):
    """A serving process group of an endpoint on one instance."""

    id: str
    status: str
    status_reason: str
    instance_id: str | None
    failure: dict[str, Any] | None
    created_at: datetime
    ready_at: datetime | None
    ended_at: datetime | None


class Endpoint(msgspec.Struct, frozen=True):
    """A stable address that answers inference. `config`: the wanted one, `live_config`: the one that answers."""

    id: str
    project_id: str
    name: str
    status: str
    status_reason: str
    config: EndpointConfig
    live_config: EndpointConfig | None
    replicas: list[Replica]
    infer_path: str
    created_at: datetime
    in_service_at: datetime | None = None
    delete_requested_at: datetime | None = None
    deleted_at: datetime | None = None
    created_by: str = ""
    max_body_bytes: int = 0
    protected: bool = False
    tags: dict[str, str] = {}


class Charge(msgspec.Struct, frozen=True):
    """What some usage costs: exact decimals."""

    id: str
    resource_kind: str
    resource_id: str
    resource_name: str
    variant: str
    sku: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal
    from_at: datetime
    to_at: datetime


class Budget(msgspec.Struct, frozen=True):
    """A monthly limit on charges with what is spent; `alerts`: percents reached."""

    id: str
    project_id: str | None
    amount: Decimal
    alert_percents: list[int]
    hold_at_limit: bool
    spent: Decimal
    alerts: list[int]
    reached: bool
    created_at: datetime
    tags: dict[str, str] = {}


class ApiKey(msgspec.Struct, frozen=True):
    """An API key. `token` is told once, when it is made."""

    id: str
    name: str
    access_key_id: str
    role: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    tags: dict[str, str] = {}
    token: str | None = None
