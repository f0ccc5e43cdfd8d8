"""Structs that cross a process boundary. Plain, typed, JSON on every line.

Three conversations use them:

1. *job process* and *agent*: newline-delimited JSON over one Unix stream socket (`JobMessage`,
   from the process to the agent; the agent answers with signals only: SIGTERM asks for a checkpoint
   and an end).
2. *agent* and *control plane*: HTTP under `/agent/v1` with the instance's bearer token (`HelloRequest`,
   `SyncRequest`, `SyncReply`). Everything an agent says about an assignment is a `Report`, numbered from 1
   per assignment epoch, so a replay changes nothing.
3. *gateway* and *control plane*: HTTP under `/gateway/v1` with the gateway's bearer token
   (`RouteSnapshot`).

Every struct is immutable and keyword-only; unknown fields are ignored.
Times are seconds (float) unless a name says otherwise; `*_at` are ISO 8601 strings in UTC.
"""

import hashlib
import hmac
from typing import Any, Literal

import msgspec

# --- files and inputs -------------------------------------------------------------------------


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


# --- what an agent is asked to do -------------------------------------------------------------


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


# --- agent → control plane --------------------------------------------------------------------

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


# --- job process → agent ----------------------------------------------------------------------


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


# --- routing: control plane → gateway → replica -------------------------------------------------


class RouteVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A production variant in the routing table. Weights are relative, ≥ 0."""

    name: str
    weight: float
    model_version_id: str


class RouteReplica(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that may get connections: on this host, by its Unix sockets.

    `socket_path`: the socket of its first process, `…/run/replica-0.sock`. The gateway finds the other
    processes beside it (`replica-<n>.sock`), so their number may change without a new table.
    """

    replica_id: str
    socket_path: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint in service."""

    organization_id: str
    endpoint_id: str
    endpoint_name: str
    variants: list[RouteVariant]
    replicas: list[RouteReplica]
    max_body_bytes: int


class RouteKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key that may invoke the endpoints of its organization."""

    organization_id: str
    key_id: str
    token_sha256: str
    expires_at: float | None
    """Unix seconds."""


class RouteSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole routing table. `version` grows with every change."""

    version: int
    routes: list[Route]
    keys: list[RouteKey]


GRPC_ROLE = "grpc"


def gateway_token(token: str, role: str) -> str:
    """The bearer token of the gateway process with this role, made from the one token they are given.

    Each is counted by itself, so that an endpoint waits for all of them. "" = the first: the token itself.
    """
    return hmac.new(token.encode(), role.encode(), hashlib.sha256).hexdigest() if role else token


class ReplicaHello(msgspec.Struct, frozen=True, kw_only=True):
    """First packet from a replica process to whoever connects: who it is. `process` counts from 0.

    `connection_limit`: connections it has descriptors for; 0 = it does not say.
    """

    replica_id: str
    endpoint_id: str
    endpoint_name: str
    process: int
    pid: int
    connection_limit: int = 0


class ReplicaRoute(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica knows of the routing table: its own endpoint and its organization's keys.

    Each of its processes refuses a call where those that wait need more than `queue_seconds`, and where its key has
    `key_calls` calls under way there (0 = any number).
    """

    organization_id: str
    endpoint_id: str
    endpoint_name: str
    variants: list[RouteVariant]
    keys: list[RouteKey]
    max_body_bytes: int
    version: int = -1
    """Of the table that it was taken from. Of two gateways' routes a replica keeps the newer one's."""
    queue_seconds: float = 5.0
    key_calls: int = 0


# --- what a model takes and gives ---------------------------------------------------------------


class TensorSignature(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output. `datatype` is the Open Inference Protocol's (FP32, UINT8, …); -1 in `shape`
    is a dimension of any size, the first one being the batch.
    """

    name: str
    datatype: str
    shape: list[int]


class ModelSignature(msgspec.Struct, frozen=True, kw_only=True):
    """`signature.json` beside a model: its inputs and outputs, in the model's order."""

    inputs: list[TensorSignature]
    outputs: list[TensorSignature]


# --- usage of the data plane --------------------------------------------------------------------

LATENCY_FLOOR_US = 100
LATENCY_PER_OCTAVE = 4
LATENCY_BUCKETS = 84
"""The last bucket begins at about three minutes, longer than a request may last."""


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a usage segment: what one batch consumed for one variant and key.

    `at`: Unix seconds. `calls`: inferences answered with 200; `items`, `bytes_*` and `compute_us` are
    theirs. `errors`: calls of this key that were refused or failed (not in `calls`); `variant` is empty where
    none had been chosen. The first line of a segment is a `UsageHeader`.
    """

    at: float
    variant: str
    key_id: str
    calls: int
    items: int
    bytes_in: int
    bytes_out: int
    compute_us: int
    errors: int
    latency: dict[int, int] = {}
    """Calls by how long the replica took for them, from the whole request to its answer: bucket 0 up to
    `LATENCY_FLOOR_US`, bucket k up to 2^(k / `LATENCY_PER_OCTAVE`) times that, the last one anything longer."""


class UsageHeader(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a usage segment file (JSON lines). `segment_id` is a UUID, unique for ever."""

    segment_id: str
    replica_id: str
    endpoint_id: str
    opened_at: float
