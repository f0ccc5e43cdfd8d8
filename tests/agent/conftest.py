"""Fixtures: a control plane over HTTP, agents as real processes, assignments of tiny jobs."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backend.core.wire import Assignment, AttemptSpec, Channel, CheckpointRef
from tests.agent.control_server import TOKEN, ControlServer
from worker.agent.standby import wanted_for

ROOT = Path(__file__).resolve().parents[2]
STARTER = "from tests.agent.start_agent import main; main()"


@pytest.fixture
def control() -> Iterator[ControlServer]:
    server = ControlServer()
    server.start()
    yield server
    server.stop()


class AgentProcess:
    """`python -m worker.agent` with the tests' jobs among its entrypoints."""

    def __init__(self, control: ControlServer, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", STARTER, "--folder", str(folder)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": os.environ.get("HOME", "/"),
                    "MODELYARD_API_URL": control.url,
                    "MODELYARD_INSTANCE_TOKEN": TOKEN,
                    "MODELYARD_STOP_GRACE_SECONDS": "5",
                    **environment,
                },
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Without a drain; killed where it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # wakes it
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


class Agents:
    """Starts agents on one folder; ends them all."""

    def __init__(self, control: ControlServer, folder: Path) -> None:
        self._control = control
        self.folder = folder
        self.started: list[AgentProcess] = []

    def start(self, **environment: str) -> AgentProcess:
        agent = AgentProcess(self._control, self.folder, **environment)
        self.started.append(agent)
        return agent

    def stand_by(self, wanted: Assignment) -> psutil.Process:
        """Wait for a standby that this assignment may take: its process."""
        assert wanted.attempt is not None
        self._control.standby = wanted_for(wanted.attempt)
        found: psutil.Process = self._control.wait(self.standby)
        return found

    def standby(self) -> psutil.Process | None:
        """The waiting process of the newest agent, if there is one."""
        for process in psutil.Process(self.started[-1].process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if "worker.standby" in words and "python" in words[0] and not process.children():
                    return process
        return None


@pytest.fixture
def agents(control: ControlServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Agents]:
    made = Agents(control, tmp_path / "instance")
    yield made
    control.start()
    control.known = False  # so each ends its processes at once, and removes their groups
    for agent in made.started:
        agent.end()
    if request.node.stash.get(FAILED, False):
        for agent in made.started[:1]:
            sys.stderr.write(agent.log.read_text())


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


def attempt(entrypoint: str, parameters: dict[str, Any] | None = None, **changes: Any) -> Assignment:
    """An assignment of one attempt; `changes` are fields of AttemptSpec, or `epoch`."""
    channels: list[Channel] = changes.pop("channels", [])
    checkpoint: CheckpointRef | None = changes.pop("checkpoint", None)
    epoch: int = changes.pop("epoch", 1)
    assignment_id: str = changes.pop("id", None) or str(uuid.uuid4())
    fields: dict[str, Any] = {
        "job_id": str(uuid.uuid4()),
        "attempt_id": str(uuid.uuid4()),
        "attempt_number": 1,
        "job_kind": "sleep",
        "max_runtime_seconds": 60.0,
        "memory_limit_bytes": 256 << 20,
        "cpu_count": 1.0,
        "process_limit": 32,
        "disk_limit_bytes": 64 << 20,
    }
    spec = AttemptSpec(
        entrypoint=entrypoint,
        parameters=parameters or {},
        channels=channels,
        checkpoint=checkpoint,
        **(fields | changes),
    )
    return Assignment(id=assignment_id, epoch=epoch, desired="run", stop_reason=None, attempt=spec)
