"""Calling an endpoint: the Open Inference Protocol v2 over HTTP, with the binary tensor extension.

Specification: the KServe Open Inference Protocol, REST, and Triton's binary tensor data extension.
"""

import http.client
import time
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from modelyard.errors import ApiError, BadAddress, ConnectionFailed

TARGET_HEADER = "X-Modelyard-Target-Variant"
VARIANT_HEADER = "X-Modelyard-Variant"


@dataclass(frozen=True)
class Answer:
    """One inference: which variant answered, and its JSON."""

    variant: str
    body: dict[str, Any]

    def output(self, name: str | None = None) -> list[Any]:
        """Data of one output (the first by default), flat and row-major."""
        for output in self.body["outputs"]:
            if name is None or output["name"] == name:
                data: list[Any] = output["data"]
                return data
        raise KeyError(name)


class InferenceClient:
    """One keep-alive connection to a gateway. Not to be shared between threads."""

    def __init__(self, gateway_url: str, api_key: str, *, timeout_seconds: float = 30.0) -> None:
        host, port = _host_and_port(gateway_url)
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        self._authorization = f"Bearer {api_key}"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def infer(
        self,
        endpoint: str,
        *,
        name: str,
        shape: list[int],
        datatype: str,
        raw: bytes,
        target_variant: str | None = None,
    ) -> Answer:
        """Send one input tensor as raw little-endian bytes. Raises ApiError, ConnectionFailed."""
        header = msgspec.json.encode(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": shape,
                        "datatype": datatype,
                        "parameters": {"binary_data_size": len(raw)},
                    }
                ]
            }
        )
        headers = {
            "Authorization": self._authorization,
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        }
        if target_variant is not None:
            headers[TARGET_HEADER] = target_variant
        answer, content = self._send("POST", f"/v2/models/{endpoint}/infer", header + raw, headers)
        return Answer(answer.getheader(VARIANT_HEADER, ""), msgspec.json.decode(content, type=dict[str, Any]))

    def wait_ready(self, endpoint: str, *, timeout_seconds: float = 10.0) -> None:
        """Wait until the gateway answers for this endpoint: it hears of a new one, and of its keys, within a second
        or two of the control plane's "in service". Raises ApiError when it still does not.
        """
        until = time.monotonic() + timeout_seconds
        while True:
            try:
                self._send("GET", f"/v2/models/{endpoint}/ready", None, {"Authorization": self._authorization})
            except ApiError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ConnectionFailed(f"the gateway does not answer: {error!r}") from error
        if answer.status != http.client.OK:
            raise _error(answer.status, content)
        return answer, content


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname:
            return parts.hostname, parts.port or 80
    except ValueError:
        pass
    raise BadAddress(f"'{url}' is not a gateway's address: write http://host:port")


def _error(status: int, content: bytes) -> ApiError:
    try:
        problem = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError:
        problem = {}
    return ApiError(status, "inference_failed", str(problem.get("error", content[:200])), None, problem)
