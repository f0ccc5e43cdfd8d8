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

from backend.core.wire.assignments import (
    Assignment,
    AttemptSpec,
    Channel,
    CheckpointRef,
    FileRef,
    ReplicaSpec,
    VariantSpec,
)
from backend.core.wire.jobprocess import CheckpointWritten, JobFailed, JobMessage, JobSpec, ResultWritten
from backend.core.wire.reports import (
    CheckpointSaved,
    Ended,
    Failure,
    FailureClass,
    HelloReply,
    HelloRequest,
    Logs,
    Metrics,
    MetricSeries,
    Progress,
    ReplicaReady,
    Report,
    ReportBody,
    ResultSaved,
    RunningAssignment,
    Standby,
    Started,
    SyncReply,
    SyncRequest,
    Utilisation,
    VariantProbe,
)
from backend.core.wire.serving import (
    GRPC_ROLE,
    LATENCY_BUCKETS,
    LATENCY_FLOOR_US,
    LATENCY_PER_OCTAVE,
    ModelSignature,
    ReplicaHello,
    ReplicaRoute,
    Route,
    RouteKey,
    RouteReplica,
    RouteSnapshot,
    RouteVariant,
    TensorSignature,
    UsageHeader,
    UsageLine,
    gateway_token,
)

__all__ = [
    "GRPC_ROLE",
    "LATENCY_BUCKETS",
    "LATENCY_FLOOR_US",
    "LATENCY_PER_OCTAVE",
    "Assignment",
    "AttemptSpec",
    "Channel",
    "CheckpointRef",
    "CheckpointSaved",
    "CheckpointWritten",
    "Ended",
    "Failure",
    "FailureClass",
    "FileRef",
    "HelloReply",
    "HelloRequest",
    "JobFailed",
    "JobMessage",
    "JobSpec",
    "Logs",
    "MetricSeries",
    "Metrics",
    "ModelSignature",
    "Progress",
    "ReplicaHello",
    "ReplicaReady",
    "ReplicaRoute",
    "ReplicaSpec",
    "Report",
    "ReportBody",
    "ResultSaved",
    "ResultWritten",
    "Route",
    "RouteKey",
    "RouteReplica",
    "RouteSnapshot",
    "RouteVariant",
    "RunningAssignment",
    "Standby",
    "Started",
    "SyncReply",
    "SyncRequest",
    "TensorSignature",
    "UsageHeader",
    "UsageLine",
    "Utilisation",
    "VariantProbe",
    "VariantSpec",
    "gateway_token",
]
