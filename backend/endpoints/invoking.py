"""One call to an endpoint through a gateway, as any client makes it: routed, limited and metered there.

For the dashboard's playground. No session is open meanwhile; the token is the caller's own (`identity.sessionkeys`).
"""

import http.client
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from backend.core.settings import GatewaySettings

TIMEOUT_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 5.0
"""A key that was made just now is known to the gateways within this time."""
PAUSE_SECONDS: Final = 0.2
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """What came back. `status` 0 = no gateway answered, `content` says why. `seconds` is the whole round trip.

    `cut`: the answer was longer than 4 MiB; `content` is its beginning.
    """

    status: int
    content: bytes
    variant: str = ""
    seconds: float = 0.0
    cut: bool = False


def invoke(
    gateway: GatewaySettings,
    token: str,
    endpoint_name: str,
    body: bytes,
    *,
    variant: str | None = None,
    sticky_key: str | None = None,
) -> Answer:
    """Ask an endpoint of the token's organization: `body` is an Open Inference Protocol request in JSON.

    `variant` picks one regardless of the weights; equal sticky keys get the same variant. Both are printable ASCII.
    """
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    if variant:
        headers["X-Modelyard-Target-Variant"] = variant
    if sticky_key:
        headers["X-Modelyard-Sticky-Key"] = sticky_key
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = _once(gateway, f"/v2/models/{quote(endpoint_name, safe='')}/infer", body, headers)
        if answer.status != HTTPStatus.UNAUTHORIZED or time.monotonic() > until:
            return answer
        time.sleep(PAUSE_SECONDS)


def _once(gateway: GatewaySettings, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    address = urlsplit(gateway.url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "127.0.0.1", address.port, timeout=TIMEOUT_SECONDS)
    began = time.perf_counter()
    try:
        connection.request("POST", address.path.rstrip("/") + path, body, headers)
        reply = connection.getresponse()
        content = reply.read(MAX_ANSWER_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error).encode() or type(error).__name__.encode())
    finally:
        connection.close()
    return Answer(
        reply.status,
        content[:MAX_ANSWER_BYTES],
        reply.getheader("X-Modelyard-Variant", ""),
        time.perf_counter() - began,
        cut=len(content) > MAX_ANSWER_BYTES,
    )
