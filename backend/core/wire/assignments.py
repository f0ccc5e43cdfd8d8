"""What an agent is asked to do, and the files that it takes."""

from typing import Any, Literal

import msgspec


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A content-addressed blob under a name. `sha256` is lower-case hex."""

    name: str
    sha256: str
    size_bytes: int


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One named input of a job.

    kind `dataset`: `files` holds `manifest.parquet` alone; its rows name the blobs to fetch.
    Manifest columns: path (str), sha256 (str, hex), size_bytes (int64), label (str), split
    (`train` | `validation` | `test`).
    kind `model`: `files` are the files of a model version's artifact.
    """

    name: str
    kind: Literal["dataset", "model"]
    files: list[FileRef]


class CheckpointRef(msgspec.Struct, frozen=True, kw_only=True):
    """A complete checkpoint: every file of it is stored."""

    step: int
    files: list[FileRef]


class AttemptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an agent needs to run one attempt of a job."""

    job_id: str
    attempt_id: str
    attempt_number: int
    job_kind: str
    entrypoint: str
    """Module run as `python -m <entrypoint>` inside the sandbox."""
    parameters: dict[str, Any]
    channels: list[Channel]
    checkpoint: CheckpointRef | None
    max_runtime_seconds: float
    memory_limit_bytes: int
    cpu_count: float
    process_limit: int
    disk_limit_bytes: int


class VariantSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A production variant that a replica hosts. `files` include model.onnx and signature.json."""

    name: str
    model_version_id: str
    files: list[FileRef]


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an agent needs to run one replica of an endpoint."""

    endpoint_id: str
    endpoint_name: str
    organization_id: str
    replica_id: str
    variants: list[VariantSpec]
    processes: int
    memory_limit_bytes: int
    cpu_count: float
    process_limit: int
    disk_limit_bytes: int


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance should be doing. `desired` = run | stop (SIGTERM, grace, then kill)."""

    id: str
    epoch: int
    desired: Literal["run", "stop"]
    stop_reason: str | None
    attempt: AttemptSpec | None = None
    replica: ReplicaSpec | None = None
