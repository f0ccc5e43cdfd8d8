"""The gRPC gateway's life: replicas that drain and die, changing routes, no control plane, its own end."""

import contextlib
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from tests.serving import models
from tests.serving.conftest import Plane
from tests.serving.plane import ROOT, Client, GrpcGatewayProcess, Process, Replica, key, route, until, usage

pytestmark = pytest.mark.integration

triton = pytest.importorskip("tritonclient.grpc")
KEY = {"authorization": "Bearer secret-a"}


class LivePlane(Plane):
    """A plane with both gateways."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.grpc = GrpcGatewayProcess(folder / "home", self.routes.url)

    def wait(self) -> None:
        super().wait()
        self.wait_grpc(2)

    def wait_grpc(self, times: int) -> None:
        until(lambda: self.grpc.output.count('"replica process linked"') >= times, 10)

    def close(self) -> None:
        self.grpc.stop()
        super().close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LivePlane]:
    made = LivePlane(tmp_path)
    try:
        made.wait()
        yield made
    finally:
        made.close()


def ask(client: Any, value: float = 1.0, *, endpoint: str = "digits", timeout: float | None = 10.0) -> Any:
    given = triton.InferInput("input", [1, 4], "FP32")
    given.set_data_from_numpy(np.full((1, 4), value, np.float32))
    answer = client.infer(endpoint, [given], model_version="a", headers=KEY, client_timeout=timeout)
    return answer.as_numpy("logits").tolist()


class Load:
    """Callers that call without a pause until they are stopped; every answer is kept, every error too."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.errors: queue.Queue[Exception] = queue.Queue()
        self.answers = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(port,)) for _ in range(threads)]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()

    def _call(self, port: int) -> None:
        with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{port}")) as client:
            while not self._stop.is_set():
                try:
                    assert ask(client) == [[4.0] * 3]
                except Exception as error:  # noqa: BLE001  the test reads them
                    self.errors.put(error)
                else:
                    with self._lock:
                        self.answers += 1

    def went_on(self, more: int = 100) -> None:
        """Wait for so many more answers."""
        aim = self.answers + more
        until(lambda: self.answers >= aim, 20)


def test_a_replica_that_drains_under_load_loses_no_call_and_every_answer_is_metered(live: LivePlane) -> None:
    spec = models.replica_spec([models.linear_variant(live.folder / "n", "a", 1.0)])
    with Load(live.grpc.port) as load:
        load.went_on()
        # a second replica of the same endpoint takes over, the first one drains
        replacing = type(spec)(
            **{name: getattr(spec, name) for name in spec.__struct_fields__} | {"replica_id": "next"}
        )
        models.replica_folder(live.folder / "n", replacing)
        second = Replica(live.folder / "n", replacing)
        try:
            second.wait_ready()
            both = route(replacing, live.folder / "n", {"a": 1})
            live.routes.publish(
                [
                    type(both)(
                        **{n: getattr(both, n) for n in both.__struct_fields__}
                        | {"replicas": live.route.replicas + both.replicas}
                    )
                ],
                live.keys,
            )
            live.wait_grpc(3)
            load.went_on()
            assert live.replica.stop() == 0
            load.went_on()
        finally:
            load.__exit__()
            assert second.stop() == 0
    assert load.errors.empty(), load.errors.get()
    metered = sum(line.calls for folder in ("r", "n") for line in usage(live.folder / folder))
    probes = 0  # probes are not metered
    assert metered == load.answers + probes


def test_a_killed_replica_process_costs_its_calls_alone(live: LivePlane) -> None:
    with Load(live.grpc.port) as load:
        load.went_on()
        os.kill(live.pids()[0], signal.SIGKILL)
        live.wait_grpc(3)
        load.went_on()
    failed = list(load.errors.queue)
    assert len(failed) <= 4, failed
    assert [str(error) for error in failed if "UNAVAILABLE" not in str(error)] == []
    metered = sum(line.calls for line in usage(live.folder / "r"))
    assert load.answers <= metered <= load.answers + len(failed)


def test_sigterm_ends_it_after_the_calls_under_way(live: LivePlane) -> None:
    with Load(live.grpc.port) as load:
        load.went_on()
        assert live.grpc.stop() == 0
    # A call that arrives in the very moment of the end was not begun: gRPC itself says CANCELLED.
    begun = [str(e) for e in load.errors.queue if "UNAVAILABLE" not in str(e) and "CANCELLED] CANCELLED" not in str(e)]
    assert begun == []
    assert sum(line.calls for line in usage(live.folder / "r")) == load.answers
    with Client(live.gateway.port) as client:
        assert client.infer([[1, 0, 0, 0]])[0] == 200


def test_it_serves_on_from_its_table_on_disk_with_the_control_plane_down(live: LivePlane) -> None:
    live.routes.close()
    live.grpc.kill()
    port = live.grpc.port
    live.grpc = GrpcGatewayProcess(live.folder / "home", live.routes.url, port)
    live.wait_grpc(4)
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{port}")) as client:
        assert client.is_server_ready()
        assert ask(client) == [[4.0] * 3]
    live.routes = type(live.routes)()


def test_it_serves_with_the_other_gateway_down_and_new_replica_processes(live: LivePlane) -> None:
    live.gateway.kill()
    os.kill(live.pids()[0], signal.SIGKILL)
    os.kill(live.pids()[1], signal.SIGKILL)
    live.wait_grpc(4)
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{live.grpc.port}")) as client:
        until(lambda: ask(client) == [[4.0] * 3], 5)


def test_a_revoked_key_stops_and_an_old_route_does_not_bring_it_back(live: LivePlane) -> None:
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{live.grpc.port}")) as client:
        assert ask(client) == [[4.0] * 3]
        began = time.monotonic()
        live.routes.publish([live.route], [key("org-a", "other")])

        def refused() -> bool:
            try:
                ask(client)
            except Exception as error:  # noqa: BLE001  tritonclient's own
                return "UNAUTHENTICATED" in str(error)
            return False

        until(refused, 5)
        assert time.monotonic() - began < 2.5
    # A gRPC gateway that comes back with an older table, and no control plane to tell it better.
    file = live.folder / "home" / "gateway" / "routes-grpc.json"
    until(lambda: b'"version":2' in file.read_bytes(), 5)
    old = file.read_bytes()
    live.grpc.stop()
    with Client(live.port, "secret-a") as client_http:
        until(lambda: client_http.infer([[1, 0, 0, 0]])[0] == 401, 5)
    stale = old.replace(b'"version":2', b'"version":1').replace(b"key-other", b"key-secret-a")
    stale = stale.replace(key("org-a", "other").token_sha256.encode(), key("org-a", "secret-a").token_sha256.encode())
    file.write_bytes(stale)
    live.routes.close()
    live.grpc = GrpcGatewayProcess(live.folder / "home", live.routes.url)
    live.wait_grpc(4)
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{live.grpc.port}")) as client:
        until(refused_by(client), 5)
    with Client(live.port, "secret-a") as client_http:
        assert client_http.infer([[1, 0, 0, 0]])[0] == 401
    live.routes = type(live.routes)()


def refused_by(client: Any) -> Any:
    """Whether the replica itself refuses the key."""

    def look() -> bool:
        try:
            ask(client)
        except Exception as error:  # noqa: BLE001  tritonclient's own
            return "this key is not valid" in str(error)
        return False

    return look


def test_a_busy_port_ends_it_with_the_reason(live: LivePlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--home", str(live.folder), "--api", live.routes.url, "--token-file", "none", "--port", str(port)]
        second = Process(["worker.serving.grpcgateway", *arguments], ROOT, live.folder / "second.log")
        assert second.wait(15) == 1
    assert '"grpc gateway cannot serve"' in second.output
    assert "Traceback" not in second.output


def test_an_endpoint_without_a_replica_is_unavailable(live: LivePlane) -> None:
    live.replica.stop()
    with contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{live.grpc.port}")) as client:
        with pytest.raises(Exception, match=r"UNAVAILABLE.*no replica of this endpoint is ready"):
            ask(client)
        assert not client.is_model_ready("digits", headers=KEY)
