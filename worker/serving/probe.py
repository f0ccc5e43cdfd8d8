"""A real inference request to every variant of a replica process, made by the agent before it serves.

Synchronous, without numpy: the sample input is zeros in the binary tensor extension.
"""

import http.client
import json
import math
import socket
import time
from pathlib import Path

from backend.core.wire import ModelSignature, VariantProbe
from worker.serving import packets

ITEM_BYTES = {
    "BOOL": 1,
    "UINT8": 1,
    "INT8": 1,
    "UINT16": 2,
    "INT16": 2,
    "FP16": 2,
    "UINT32": 4,
    "INT32": 4,
    "FP32": 4,
    "UINT64": 8,
    "INT64": 8,
    "FP64": 8,
    "BYTES": 4,  # the length of an empty string
}
TIMEOUT_SECONDS = 20.0


def sample_request(signature: ModelSignature) -> tuple[bytes, int]:
    """Body of an infer request with zeros for every input, 1 for open dimensions; and its JSON's length.

    Raises ValueError for a datatype that the protocol does not know.
    """
    inputs: list[dict[str, object]] = []
    data = b""
    for tensor in signature.inputs:
        if tensor.datatype not in ITEM_BYTES:
            raise ValueError(f"input {tensor.name!r} has the unknown datatype {tensor.datatype!r}")
        shape = [max(1, size) for size in tensor.shape]
        zeros = bytes(math.prod(shape) * ITEM_BYTES[tensor.datatype])
        data += zeros
        inputs.append(
            {
                "name": tensor.name,
                "shape": shape,
                "datatype": tensor.datatype,
                "parameters": {"binary_data_size": len(zeros)},
            }
        )
    head = json.dumps({"inputs": inputs}).encode()
    return head + data, len(head)


def probe(
    socket_path: str | Path,
    endpoint: str,
    variant: str,
    signature: ModelSignature,
    token: str,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> VariantProbe:
    """Ask `variant` for one inference through a replica process's socket.

    `token` is the one whose SHA-256 the replica was given as `MODELYARD_PROBE_TOKEN_SHA256`. Never raises for
    what the replica does: not there, wrong answer and timeout are `ok=False` with the reason in `detail`.
    """
    began = time.monotonic()
    try:
        body, head_bytes = sample_request(signature)
        request = (
            f"POST /v2/models/{endpoint}/infer HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n"
            f"authorization: Bearer {token}\r\nx-modelyard-target-variant: {variant}\r\n"
            f"inference-header-content-length: {head_bytes}\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        status, answered_by, content = _exchange(Path(socket_path), request, timeout_seconds)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _result(variant, began, f"{type(error).__name__}: {error}", ok=False)
    if status != http.client.OK:
        return _result(variant, began, f"answered {status}: {content[:300].decode(errors='replace')}", ok=False)
    if answered_by != variant:
        return _result(variant, began, f"answered by {answered_by!r}", ok=False)
    return _result(variant, began, "answered", ok=True)


def _result(variant: str, began: float, detail: str, *, ok: bool) -> VariantProbe:
    latency_ms = (time.monotonic() - began) * 1e3
    return VariantProbe(variant=variant, ok=ok, latency_ms=latency_ms, detail=detail)


def _exchange(path: Path, request: bytes, timeout_seconds: float) -> tuple[int, str | None, bytes]:
    """Pass one end of a socket pair to the replica, talk HTTP over the other."""
    with packets.connect(path) as line:
        line.settimeout(timeout_seconds)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(line, [packets.CONNECTION], [theirs.fileno()])
            ours.settimeout(timeout_seconds)
            ours.sendall(request)
            with http.client.HTTPResponse(ours) as reply:
                reply.begin()
                return reply.status, reply.headers.get("x-modelyard-variant"), reply.read()
