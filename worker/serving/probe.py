"""A real inference request to every variant of a replica process, made by the agent before it serves.

Synchronous, without numpy: the sample input is zeros in the binary tensor extension. Signature and replica are a
tenant's: the sample's size, the answer's size and the time of the whole exchange are bounded.
"""

import contextlib
import http.client
import json
import math
import socket
import threading
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
    "BF16": 2,
    "UINT32": 4,
    "INT32": 4,
    "FP32": 4,
    "UINT64": 8,
    "INT64": 8,
    "FP64": 8,
    "BYTES": 4,  # the length of an empty string
}
TIMEOUT_SECONDS = 20.0
SAMPLE_BYTES = 64 << 20
ANSWER_BYTES = 64 << 20
DETAIL_CHARACTERS = 500


def sample_request(signature: ModelSignature) -> tuple[bytes, int]:
    """Body of an infer request with zeros for every input, 1 for open dimensions; and its JSON's length.

    Raises ValueError for a datatype that the protocol does not know, and for inputs too large to be sent.
    """
    inputs: list[dict[str, object]] = []
    data = bytearray()
    for tensor in signature.inputs:
        if tensor.datatype not in ITEM_BYTES:
            raise ValueError(f"input {tensor.name!r} has the unknown datatype {tensor.datatype!r}")
        shape = [max(1, size) for size in tensor.shape]
        size = math.prod(shape) * ITEM_BYTES[tensor.datatype]
        if len(data) + size > SAMPLE_BYTES:
            raise ValueError(f"one item of the inputs has more than {SAMPLE_BYTES} bytes")
        data += bytes(size)
        inputs.append(
            {
                "name": tensor.name,
                "shape": shape,
                "datatype": tensor.datatype,
                "parameters": {"binary_data_size": size},
            }
        )
    # Zeros may well give NaN or infinity, which JSON has no word for.
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return head + bytes(data), len(head)


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
    said = detail.replace("\x00", "\ufffd")[:DETAIL_CHARACTERS]  # no database keeps a NUL
    return VariantProbe(variant=variant, ok=ok, latency_ms=latency_ms, detail=said)


def _exchange(path: Path, request: bytes, timeout_seconds: float) -> tuple[int, str | None, bytes]:
    """Pass one end of a socket pair to the replica, talk HTTP over the other, for `timeout_seconds` in all."""
    with packets.connect(path) as line:
        line.settimeout(timeout_seconds)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(line, [packets.CONNECTION], [theirs.fileno()])
            ours.settimeout(timeout_seconds)
            # A timeout counts from each byte; a replica that sends one now and then must not hold us for ever.
            expired = threading.Event()
            deadline = threading.Timer(timeout_seconds, _shut, [ours, expired])
            deadline.start()
            try:
                ours.sendall(request)
                with http.client.HTTPResponse(ours) as reply:
                    reply.begin()
                    content = reply.read(ANSWER_BYTES)
                    if expired.is_set():
                        raise TimeoutError(f"no whole answer within {timeout_seconds:g} s")
                    return reply.status, reply.headers.get("x-modelyard-variant"), content
            finally:
                deadline.cancel()


def _shut(line: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
