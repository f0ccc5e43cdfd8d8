"""Routing, signatures and usage: between control plane, gateway, replica and agent."""

import hashlib
import hmac

import msgspec


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
