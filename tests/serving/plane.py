"""A data plane of real processes for tests: routes over real HTTP, a gateway, replicas, raw clients."""

import contextlib
import functools
import hashlib
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from backend.core.wire import (
    GRPC_ROLE,
    ModelSignature,
    ReplicaSpec,
    Route,
    RouteKey,
    RouteReplica,
    RouteSnapshot,
    RouteVariant,
    UsageLine,
    gateway_token,
)
from worker.serving.probe import probe

PROBE_TOKEN = "probe-token"
TOKEN_A = "secret-a"
GATEWAY_TOKEN = "gateway-token"
GATEWAYS = {f"Bearer {gateway_token(GATEWAY_TOKEN, role)}" for role in ("", GRPC_ROLE)}
ROOT = Path(__file__).parents[2]


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def key(organization: str, token: str, *, expires_at: float | None = None) -> RouteKey:
    return RouteKey(
        organization_id=organization, key_id=f"key-{token}", token_sha256=sha256(token), expires_at=expires_at
    )


def route(spec: ReplicaSpec, folder: Path, weights: dict[str, float], max_body_bytes: int = 1 << 20) -> Route:
    return Route(
        organization_id=spec.organization_id,
        endpoint_id=spec.endpoint_id,
        endpoint_name=spec.endpoint_name,
        variants=[
            RouteVariant(name=name, weight=weight, model_version_id=f"version-{name}")
            for name, weight in weights.items()
        ],
        replicas=[RouteReplica(replica_id=spec.replica_id, socket_path=str(folder / "run" / "replica-0.sock"))],
        max_body_bytes=max_body_bytes,
    )


class RouteServer:
    """`GET /gateway/v1/routes?version=N` as the control plane answers it."""

    def __init__(self) -> None:
        self.snapshot = RouteSnapshot(version=0, routes=[], keys=[])
        self.asked: list[str] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.asked.append(self.path)
                if self.headers["Authorization"] not in GATEWAYS:
                    self.reply(401, b"")
                elif self.path == f"/gateway/v1/routes?version={owner.snapshot.version}":
                    self.reply(304, b"")
                else:
                    self.reply(200, msgspec.json.encode(owner.snapshot))

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def versions_told(self) -> list[int]:
        """The versions that gateways said they have applied, oldest first."""
        return [int(path.rpartition("=")[2]) for path in self.asked]

    def publish(self, routes: list[Route], keys: list[RouteKey]) -> None:
        self.snapshot = RouteSnapshot(version=self.snapshot.version + 1, routes=routes, keys=keys)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Process:
    """A process of ours, its output in a file."""

    def __init__(
        self, arguments: list[str], folder: Path, output: Path, *, descriptors: int = 0, **environment: str
    ) -> None:
        limited = ["prlimit", f"--nofile={descriptors}:{descriptors}"] if descriptors else []
        search = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [*limited, sys.executable, "-m", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": search, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self.pid = self._process.pid
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM and its exit status; killed (and -9) where it does not obey within 15 s."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]


class Replica(Process):
    """A replica's parent process, started as the agent starts it."""

    def __init__(self, folder: Path, spec: ReplicaSpec, *, descriptors: int = 0) -> None:
        self.folder = folder
        self.spec = spec
        super().__init__(
            ["worker.serving.replica"],
            folder,
            folder / "output.log",
            descriptors=descriptors,
            MODELYARD_PROBE_TOKEN_SHA256=sha256(PROBE_TOKEN),
        )

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Until every variant of every process has answered a probe."""
        for number in range(self.spec.processes):
            path = self.folder / "run" / f"replica-{number}.sock"
            for variant in self.spec.variants:
                until(functools.partial(self._probed, path, variant.name), seconds)

    def _probed(self, path: Path, variant: str) -> bool:
        signature = self.folder / "models" / variant / "signature.json"
        decoded = msgspec.json.decode(signature.read_bytes(), type=ModelSignature)
        return probe(path, self.spec.endpoint_name, variant, decoded, PROBE_TOKEN, timeout_seconds=5).ok


class GatewayProcess(Process):
    """A gateway process; its port is read from its first log lines."""

    module = "worker.serving.gateway"
    ready = '"gateway ready"'

    def __init__(self, home: Path, api: str, port: int = 0, *options: str, descriptors: int = 0) -> None:
        home.mkdir(exist_ok=True)
        token = home / "token"
        token.write_text(GATEWAY_TOKEN + "\n")
        output = home / f"{self.module}.log"
        self._known = 0 if not output.exists() else len(output.read_text())
        arguments = ["--home", str(home), "--api", api, "--token-file", str(token), "--port", str(port)]
        super().__init__([self.module, *arguments, *options], ROOT, output, descriptors=descriptors)
        self.port: int = until(self._ready, 10)

    def _ready(self) -> int:
        for line in self.output[self._known :].splitlines():
            if self.ready in line:
                return int(json.loads(line)["port"])
        return 0


class GrpcGatewayProcess(GatewayProcess):
    """A gRPC gateway process."""

    module = "worker.serving.grpcgateway"
    ready = '"grpc gateway ready"'


def until(look: Callable[[], Any], seconds: float) -> Any:
    """What `look` answers once it is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"nothing came within {seconds} s"
        time.sleep(0.02)


class Client:
    """One keep-alive connection to the gateway."""

    def __init__(self, port: int, token: str | None = TOKEN_A) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._token = token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._token is not None:
            sent.setdefault("Authorization", f"Bearer {self._token}")
        self._connection.request(method, path, body, sent)
        reply = self._connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def json(self, method: str, path: str, content: object = None, **headers: str) -> tuple[int, Any]:
        body = None if content is None else json.dumps(content).encode()
        status, _, answer = self.ask(method, path, body, **headers)
        return status, json.loads(answer)

    def infer(self, rows: list[list[float]], endpoint: str = "digits", **headers: str) -> tuple[int, Any]:
        return self.json("POST", f"/v2/models/{endpoint}/infer", infer_body(rows), **headers)


def infer_body(rows: list[list[float]]) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": "input",
                "shape": [len(rows), len(rows[0])],
                "datatype": "FP32",
                "data": [value for row in rows for value in row],
            }
        ]
    }


def request_bytes(rows: list[list[float]], *, endpoint: str = "digits", token: str = TOKEN_A, extra: str = "") -> bytes:
    """An infer request as raw bytes."""
    body = json.dumps(infer_body(rows)).encode()
    return (
        f"POST /v2/models/{endpoint}/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"{extra}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def exchange(port: int, sent: bytes, *, seconds: float = 5.0, half_close: bool = False) -> bytes:
    """Everything the other side says until it closes or falls silent for `seconds`."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := connection.recv(65536):
                received += data
        return received


def usage(folder: Path) -> list[UsageLine]:
    """All usage lines of a replica, open and sealed segments."""
    return [line for path in sorted((folder / "usage").glob("*.jsonl")) for line in segment(path)]


def segment(path: Path) -> Iterator[UsageLine]:
    for line in path.read_bytes().splitlines()[1:]:
        yield msgspec.json.decode(line, type=UsageLine)
