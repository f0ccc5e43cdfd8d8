"""docker-compose.yml without Docker: its services as processes, with its commands, its variables and no others.

Names of hosts and folders are those of this machine; everything else is as written there. The servers are the embedded
ones, listening on TCP as the images do.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml

from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from modelyard import Client
from tests.platform.waiting import all_gone, until

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Here:
    """This machine in the place of the containers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("postgres", "valkey", "api", "gateway", "grpc")}
        self.postgres = EmbeddedPostgres(folder / "servers", folder / "s", port=self.ports["postgres"], durable=False)
        self.valkey = EmbeddedValkey(folder / "servers", folder / "s", port=self.ports["valkey"])
        self.secrets = _make_secrets(folder) | {
            "MODELYARD_POSTGRES_PASSWORD": self.postgres.password,
            "MODELYARD_BROKER_PASSWORD": self.valkey.password,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    def translate(self, text: str) -> str:
        text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: self.secrets[found[1]], text)
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        for name, port in (("postgres", 5432), ("valkey", 6379), ("api", 8700)):
            text = re.sub(rf"\b{name}:{port}\b", f"127.0.0.1:{self.ports[name]}", text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - what it is replaced by is the point
        text = re.sub("^8700$", str(self.ports["api"]), text)
        text = re.sub("^8701$", str(self.ports["gateway"]), text)
        text = re.sub("^8702$", str(self.ports["grpc"]), text)
        return re.sub(r"(?<![\w:])/(var/lib|run|tmp)/", f"{self.folder}/", text)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        service: dict[str, Any] = self._services[name]
        said = {key: value for key, value in service.get("environment", {}).items() if value is not None}
        given = {key: self.translate(str(value)) for key, value in said.items()}
        words = [self.translate(word) for word in service["command"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | given,
                stdout=log,
                stderr=log,
            )
        return self.processes[name]

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in self.folder.glob("*.log"))


def _make_secrets(folder: Path) -> dict[str, str]:
    (folder / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "make-secrets", folder / "deploy")
    subprocess.run([script], check=True, capture_output=True)
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line.startswith("MODELYARD_"))


@pytest.fixture
def here() -> Iterator[Here]:
    folder = Path(tempfile.mkdtemp(prefix="myc-"))
    folder.chmod(0o711)  # sandboxes and servers run as other users below it
    for name, mode in (("modelyard", 0o711), ("modelyard-provider", 0o711), ("secrets", 0o700)):
        (folder / name).mkdir(mode=mode)
    found = Here(folder)
    (folder / "secrets" / "gateway_token").write_text(found.secrets["MODELYARD_GATEWAY_TOKEN"])
    found.postgres.start()
    found.valkey.start()
    yield found
    family = [each for one in found.processes.values() for each in _family(one.pid)]
    for process in reversed(found.processes.values()):
        process.terminate()
    for process in found.processes.values():
        process.wait(30)
    found.valkey.stop()
    found.postgres.stop()
    assert all_gone(family)
    shutil.rmtree(folder, ignore_errors=True)


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def test_a_job_runs_to_its_end_on_what_compose_starts(here: Here) -> None:
    assert here.start("migrate").wait(60) == 0, here.logs()
    for name in ("api", "worker", "beat", "gateway", "grpc", "localhost"):
        here.start(name)
    api = f"http://127.0.0.1:{here.ports['api']}"
    assert until(lambda: _answers(f"{api}/health/ready"), 40), here.logs()
    # The home is the volume that migrate, API and worker share; what it says of ports is what compose publishes.
    owner = json.loads((here.folder / "modelyard" / "owner.json").read_text())
    assert owner["api_url"] == api
    with Client(api, owner["api_key"]) as client:
        project = client.projects.create("compose")
        job = client.jobs.sleep(project.id, "nap", seconds=1)
        provider = psutil.Process(here.processes["localhost"].pid)
        assert until(lambda: any(_runtime(each) for each in provider.children(recursive=True)), 40), here.logs()
        told = [_runtime(each) for each in provider.children(recursive=True)]
        # Each machine has a folder of its own there, which goes with it.
        assert {Path(each).parent for each in told if each} == {here.folder / "modelyard"}
        assert client.jobs.wait(job.id, timeout_seconds=60).status == "completed", here.logs()
    assert until(lambda: _answers(f"http://127.0.0.1:{here.ports['gateway']}/v2/health/ready"), 20), here.logs()


def _runtime(process: psutil.Process) -> str | None:
    """Where an agent puts the sockets that the gateway must reach; None for other processes."""
    try:
        environment = process.environ()
    except psutil.Error:
        return None
    return environment.get("MODELYARD_AGENT_RUNTIME") if "MODELYARD_INSTANCE_TOKEN" in environment else None
