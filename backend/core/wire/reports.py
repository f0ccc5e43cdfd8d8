"""What an agent says to the control plane, and is answered."""

from typing import Any, Literal

import msgspec

from backend.core.wire.assignments import Assignment, FileRef

FailureClass = Literal[
    "user_code", "out_of_memory", "capacity", "interruption", "credentials", "timeout", "platform", "gate"
]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt did not complete: a class, one plain sentence, and evidence (★11)."""

    failure_class: FailureClass
    reason: str
    hint: str | None = None
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    log_tail: list[str] = []


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The process of the assignment runs. Billing starts when this report is accepted."""

    pid: int


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far a job is. `total_steps` 0 = unknown. `phase` is a short plain phrase."""

    step: int
    total_steps: int
    phase: str


class Metrics(msgspec.Struct, frozen=True, kw_only=True, tag="metrics"):
    """Points of one or more series, as columns per series (same length each).

    `times` are Unix seconds as the job process saw them.
    """

    series: list["MetricSeries"]


class MetricSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of one series: steps (int), values (float), times (Unix seconds)."""

    name: str
    steps: list[int]
    values: list[float]
    times: list[float]


class Logs(msgspec.Struct, frozen=True, kw_only=True, tag="logs"):
    """Whole lines of the job's output, oldest first, without their newline."""

    lines: list[str]
    times: list[float]


class Utilisation(msgspec.Struct, frozen=True, kw_only=True, tag="utilisation"):
    """What the assignment's processes used of their instance: samples as columns (same length each), oldest first.

    `times`: Unix seconds at which a sample ends; `spans`: the seconds it covers. `cpu_cores`, the bytes per second to
    and from disks and `gpu_share` (0 to 1, over all GPUs) are means over the span; memory is what was held at its end.
    The GPU columns are empty where no GPU is measured. The limits are those in force.
    """

    cpu_count: float
    memory_limit_bytes: int
    times: list[float]
    spans: list[float]
    cpu_cores: list[float]
    memory_bytes: list[float]
    read_bytes_per_second: list[float]
    written_bytes_per_second: list[float]
    gpu_count: int = 0
    gpu_memory_limit_bytes: int = 0
    gpu_share: list[float] = []
    gpu_memory_bytes: list[float] = []


class CheckpointSaved(msgspec.Struct, frozen=True, kw_only=True, tag="checkpoint"):
    """A checkpoint whose files are all uploaded."""

    step: int
    files: list[FileRef]


class ResultSaved(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """The job's artifact, uploaded, and what the job kind's controller needs to register it."""

    files: list[FileRef]
    summary: dict[str, Any]


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """The process of the assignment is gone. The last report of an epoch.

    outcome: completed (exit 0 and a result), stopped (asked to, SIGTERM), failed.
    """

    outcome: Literal["completed", "stopped", "failed"]
    failure: Failure | None = None


class VariantProbe(msgspec.Struct, frozen=True, kw_only=True):
    """One variant's answer to a real inference request made by the agent."""

    variant: str
    ok: bool
    latency_ms: float
    detail: str


class ReplicaReady(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The replica answered a probe for every variant; connections may be placed on it.

    `socket_path`: where a gateway on the same host reaches it.
    """

    socket_path: str
    probes: list[VariantProbe]


ReportBody = Started | Progress | Metrics | Logs | Utilisation | CheckpointSaved | ResultSaved | ReplicaReady | Ended


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One thing an agent says about an assignment.

    `seq` counts from 1 per (assignment, epoch) without gaps. `elapsed_seconds`: the agent's
    monotonic seconds since the assignment's process started.
    """

    assignment_id: str
    epoch: int
    seq: int
    elapsed_seconds: float
    body: ReportBody


class HelloRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's first words after a boot or a restart."""

    agent_version: str
    hostname: str
    cpu_count: int
    memory_bytes: int
    sandbox: str
    """`bubblewrap`, `unsafe` or `none: <why and the fix>`."""


class HelloReply(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent needs to work: its doorbell queue and its rhythm."""

    instance_id: str
    organization_id: str
    broker_url: str
    broker_prefix: str
    broker_queue: str
    heartbeat_seconds: float


class RunningAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeat of one assignment the agent holds."""

    assignment_id: str
    epoch: int
    elapsed_seconds: float


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Reports not yet acknowledged (oldest first, bounded), and a heartbeat per assignment held."""

    reports: list[Report] = []
    running: list[RunningAssignment] = []
    interruption_notice: str | None = None


class Standby(msgspec.Struct, frozen=True, kw_only=True):
    """What an idle instance keeps ready: a process that waits for a job of this entrypoint, in exactly these limits."""

    entrypoint: str
    memory_limit_bytes: int
    cpu_count: float
    process_limit: int
    disk_limit_bytes: int


class SyncReply(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state.

    accepted: last accepted seq per assignment id. stale: assignment ids whose epoch is over; end their
    processes and forget them without a word. drain: finish nothing new, the instance will go. standby: a job
    is likely to come soon (the instance was asked for by one, or is held after one); None = keep nothing ready.
    """

    assignments: list[Assignment]
    accepted: dict[str, int]
    stale: list[str]
    drain: bool
    heartbeat_seconds: float
    standby: Standby | None = None
