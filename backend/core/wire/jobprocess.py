"""What a job process says to its agent."""

from typing import Any

import msgspec

from backend.core.wire.reports import Failure, Metrics, Progress


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`/job/spec.json`: what a job process reads first.

    Files beside it: `input/<channel>/…` (a dataset channel: `manifest.parquet` and
    `blobs/<first two hex digits>/<sha256>`), `checkpoint/…` when resuming, and the writable `work/`.
    """

    job_id: str
    attempt_number: int
    job_kind: str
    parameters: dict[str, Any]
    channels: dict[str, str]
    resume_step: int | None
    cpu_count: float


class CheckpointWritten(msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint_written"):
    """A checkpoint folder under `work/`, complete on disk. The agent uploads it and reports it."""

    step: int
    folder: str
    """Relative to the work folder."""


class ResultWritten(msgspec.Struct, frozen=True, kw_only=True, tag="result_written"):
    """The artifact folder under `work/`, complete on disk, and its summary."""

    folder: str
    summary: dict[str, Any]


class JobFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The job process knows why it cannot go on."""

    failure: Failure


JobMessage = Progress | Metrics | CheckpointWritten | ResultWritten | JobFailed
