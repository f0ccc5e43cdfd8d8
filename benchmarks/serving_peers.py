"""Peers of the data plane: model servers that people use, each in an environment of its own (`benchmarks.peers`).

Each serves the same model file with the same session options, one item per request, with its own batching, and as many
workers as served best on two cores. They are asked in the JSON that each of them speaks.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil

from benchmarks import wrk
from benchmarks.peers import peer_environment
from tests.fixtures.platform import free_ports

SERVERS = Path(__file__).parent / "servers"
START_SECONDS = 120.0
JSON = ["Content-Type: application/json"]


@dataclass(frozen=True)
class Peer:
    """A model server: what to install, how to start it, where and in which shape it takes one input.

    `command`: words with {bin}, {servers}, {model}, {port} and {work}. `shape`: `v2`, or the name of the one key.
    """

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str
    shape: str
    variables: dict[str, str] = field(default_factory=dict)
    python: str | None = None


def _app(file: str) -> tuple[str, ...]:
    return ("{bin}/python", "{servers}/" + file, "{model}", "{port}", "{work}")


PEERS = (
    Peer(
        "PyTriton",
        ("nvidia-pytriton", "onnxruntime", "numpy"),
        _app("pytriton_app.py"),
        "/v2/models/digits/infer",
        "v2",
        # Its stub for 3.11 was built with the standard library of an early 3.11, as systems still ship it.
        python=shutil.which("python3.11", path=os.defpath),
    ),
    Peer(
        "LitServe",
        ("litserve", "onnxruntime", "uvloop", "httptools", "orjson"),
        _app("litserve_app.py"),
        "/predict",
        "input",
    ),
    Peer(
        "BentoML",
        ("bentoml", "onnxruntime", "numpy"),
        (
            *("{bin}/bentoml", "serve", "bentoml_service:Digits", "--working-dir", "{servers}"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        "/predict",
        "x",
        variables={"PEER_MODEL": "{model}", "BENTOML_HOME": "{work}", "BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "MLServer",
        ("mlserver", "onnxruntime", "uvloop==0.21.0"),
        _app("mlserver_app.py"),
        "/v2/models/digits/infer",
        "v2",
    ),
    Peer("MLflow", ("mlflow", "onnxruntime", "onnx"), _app("mlflow_app.py"), "/invocations", "inputs"),
)


def body(shape: str, pixels: np.ndarray) -> bytes:
    """One input of [1, 28, 28], as the peer takes it."""
    content: dict[str, Any]
    if shape == "v2":
        tensor = {"name": "input", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": pixels.reshape(-1).tolist()}
        content = {"inputs": [tensor]}
    else:
        image = pixels.reshape(1, 28, 28)
        content = {shape: (image if shape == "input" else image[None]).tolist()}
    return json.dumps(content, separators=(",", ":")).encode()


def logits(answer: bytes) -> np.ndarray:
    """What a peer answered, [10]."""
    found = json.loads(answer)
    if isinstance(found, dict):
        found = found["outputs"][0]["data"] if "outputs" in found else found.get("output", found.get("predictions"))
    return np.asarray(found, np.float64).reshape(-1)


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory that they hold, shared pages divided, in MB (2**20)."""
    return float(sum(process.memory_full_info().pss for process in processes)) / 2**20


@dataclass
class RunningPeer:
    """A started peer."""

    url: str
    body: Path
    process: psutil.Popen

    def load(self, connections: int, seconds: int) -> dict[str, float]:
        """One run of wrk, see `benchmarks.wrk.post`."""
        return wrk.post(self.url, self.body, JSON, connections=connections, seconds=seconds)

    def pss_mb(self) -> float:
        """Memory of its processes, shared pages divided, in MB (2**20)."""
        return pss_mb([self.process, *self.process.children(recursive=True)])


@contextmanager
def running(peer: Peer, model: Path, pixels: np.ndarray, expected: np.ndarray, folder: Path) -> Iterator[RunningPeer]:
    """The peer, until it answers right; SystemExit when it never does."""
    programs = peer_environment(peer.name.lower(), *peer.packages, python=peer.python)
    work = folder / peer.name.lower()
    work.mkdir(exist_ok=True)
    port = free_ports(1)[0]
    words = {"bin": str(programs), "servers": str(SERVERS), "model": str(model), "port": str(port), "work": str(work)}
    environment = os.environ | {name: value.format(**words) for name, value in peer.variables.items()}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    asked = work / "body"
    asked.write_bytes(body(peer.shape, pixels))
    command = [word.format(**words) for word in peer.command]
    with (work / "log").open("ab") as log:
        process = psutil.Popen(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            started = RunningPeer(f"http://127.0.0.1:{port}{peer.path}", asked, process)
            _await_right_answer(peer.name, started, expected, work / "log")
            yield started
        finally:
            _end(process)


def _await_right_answer(name: str, peer: RunningPeer, expected: np.ndarray, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    headers = {"Content-Type": "application/json"}
    while True:
        try:
            answer = httpx2.post(peer.url, content=peer.body.read_bytes(), headers=headers, timeout=5, trust_env=False)
            found = logits(answer.raise_for_status().content)
            if not np.allclose(found, expected, atol=1e-3):
                raise SystemExit(f"{name} answers {found}, not {expected}")
        except httpx2.HTTPError as error:
            if time.monotonic() > deadline or peer.process.poll() is not None:
                raise SystemExit(f"{name} does not answer ({error}):\n{log.read_text()[-2000:]}") from error
            time.sleep(0.2)
        else:
            return


def _end(process: psutil.Popen) -> None:
    tree = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=10)
    for each in alive:
        each.kill()
    psutil.wait_procs(alive, timeout=5)
