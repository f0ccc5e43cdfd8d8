"""A replica in the agent's sandbox, answering through the real gateway; its usage delivered to the last call."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from backend.core.wire import (
    Assignment,
    Ended,
    FileRef,
    ReplicaReady,
    ReplicaSpec,
    Route,
    RouteReplica,
    RouteVariant,
    UsageLine,
    VariantSpec,
)
from tests.agent.conftest import Agents
from tests.agent.control_server import ControlServer
from tests.platform.waiting import living
from tests.serving import models
from tests.serving.plane import Client, GatewayProcess, RouteServer, key, until

pytestmark = pytest.mark.integration


def _variant(control: ControlServer, folder: Path, name: str, scale: float) -> VariantSpec:
    models.linear_variant(folder, name, scale)
    files = []
    for path in sorted((folder / "models" / name).iterdir()):
        content = path.read_bytes()
        files.append(FileRef(name=path.name, sha256=control.add_blob(content), size_bytes=len(content)))
    return VariantSpec(name=name, model_version_id=f"version-{name}", files=files)


def _replica(control: ControlServer, folder: Path) -> Assignment:
    spec = ReplicaSpec(
        endpoint_id="id-digits",
        endpoint_name="digits",
        organization_id="org-a",
        replica_id=str(uuid.uuid4()),
        variants=[_variant(control, folder, "a", 1.0), _variant(control, folder, "b", 2.0)],
        processes=1,
        memory_limit_bytes=512 << 20,
        cpu_count=1.0,
        process_limit=64,
        disk_limit_bytes=64 << 20,
    )
    return Assignment(id=str(uuid.uuid4()), epoch=1, desired="run", stop_reason=None, replica=spec)


@pytest.fixture
def routes() -> Iterator[RouteServer]:
    server = RouteServer()
    yield server
    server.close()


def _publish(routes: RouteServer, wanted: Assignment, ready: ReplicaReady) -> None:
    assert wanted.replica is not None
    spec = wanted.replica
    variants = [RouteVariant(name=v.name, weight=1, model_version_id=v.model_version_id) for v in spec.variants]
    route = Route(
        organization_id=spec.organization_id,
        endpoint_id=spec.endpoint_id,
        endpoint_name=spec.endpoint_name,
        variants=variants,
        replicas=[RouteReplica(replica_id=spec.replica_id, socket_path=ready.socket_path)],
        max_body_bytes=1 << 20,
    )
    routes.publish([route], [key("org-a", "secret-a")])


def _calls(control: ControlServer) -> int:
    lines = [line for content in control.segments.values() for line in content.splitlines()[1:]]
    return sum(msgspec.json.decode(line, type=UsageLine).calls for line in lines)


def _ask(port: int, times: int) -> None:
    with Client(port) as client:
        for _ in range(times):
            status, answer = client.infer([[1.0, 2.0, 3.0, 4.0]])
            assert status == 200
            assert answer["outputs"][0]["data"][0] in {10.0, 20.0}


def _answers(port: int) -> bool:
    with Client(port) as client:
        return client.infer([[1.0, 2.0, 3.0, 4.0]])[0] == 200


def test_a_replica_answers_and_every_call_is_delivered(
    control: ControlServer, agents: Agents, routes: RouteServer, tmp_path: Path
) -> None:
    wanted = _replica(control, tmp_path / "made")
    control.want(wanted)
    agents.start()
    (ready,) = control.wait(lambda: control.bodies(wanted.id, ReplicaReady))
    assert [(probe.variant, probe.ok) for probe in ready.probes] == [("a", True), ("b", True)]
    assert len(ready.socket_path) < 108
    _publish(routes, wanted, ready)
    gateway = GatewayProcess(tmp_path / "home", routes.url)
    try:
        until(lambda: _answers(gateway.port), 10)
        _ask(gateway.port, 20)
        control.stop()  # the data plane outlives the control plane, and so does its usage
        _ask(gateway.port, 15)
        control.start()
        control.ask_to_stop(wanted.id)
        ended = control.wait_ended(wanted.id)
    finally:
        gateway.stop()
    assert ended == Ended(outcome="stopped")
    assert _calls(control) == 36
    runtime = Path(ready.socket_path).parents[1]
    del control.wanted[wanted.id]
    control.wait(lambda: not runtime.exists())


def test_a_killed_replica_comes_back_and_loses_no_call(
    control: ControlServer, agents: Agents, routes: RouteServer, tmp_path: Path
) -> None:
    wanted = _replica(control, tmp_path / "made")
    control.want(wanted)
    agent = agents.start()
    (ready,) = control.wait(lambda: control.bodies(wanted.id, ReplicaReady))
    _publish(routes, wanted, ready)
    gateway = GatewayProcess(tmp_path / "home", routes.url)
    try:
        until(lambda: _answers(gateway.port), 10)
        _ask(gateway.port, 4)
        for process in living(psutil.Process(agent.process.pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "worker.serving.replica" in process.cmdline() and process.name().startswith("python"):
                    process.kill()
        control.wait(lambda: len(control.bodies(wanted.id, ReplicaReady)) == 2)
        until(lambda: _answers_quietly(gateway.port), 10)
        agent.kill()
        agents.start()
        ended = control.wait_ended(wanted.id)
        control.wait(lambda: _calls(control) >= 6)
    finally:
        gateway.stop()
    assert ended.failure is not None
    assert ended.failure.failure_class == "interruption"
    time.sleep(0.5)
    assert _calls(control) == 6
    assert len(control.segments) == len(set(control.segments))


def _answers_quietly(port: int) -> bool:
    try:
        return _answers(port)
    except (OSError, json.JSONDecodeError):
        return False


def test_a_model_that_does_not_load_fails_the_replica(control: ControlServer, agents: Agents, tmp_path: Path) -> None:
    wanted = _replica(control, tmp_path / "made")
    assert wanted.replica is not None
    broken = FileRef(name="model.onnx", sha256=control.add_blob(b"no model"), size_bytes=8)
    variant = wanted.replica.variants[0]
    variant = msgspec.structs.replace(variant, files=[broken, variant.files[1]])
    spec = msgspec.structs.replace(wanted.replica, variants=[variant])
    wanted = msgspec.structs.replace(wanted, replica=spec)
    control.want(wanted)
    agents.start()
    ended = control.wait_ended(wanted.id)
    assert ended.outcome == "failed"
    assert ended.failure is not None
    assert ended.failure.exit_code == 78
    assert any("model.onnx" in line for line in ended.failure.log_tail)
