"""A replica is a tenant's process: what it does to the gateway, which all tenants share, and to its agent's probe."""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from backend.core.wire import ModelSignature, ReplicaHello, ReplicaSpec, RouteSnapshot, TensorSignature
from tests.serving.plane import key, route
from worker.serving import packets
from worker.serving.links import PROCESSES_PER_REPLICA
from worker.serving.placement import Gateway
from worker.serving.probe import probe
from worker.serving.table import RoutingTable

pytestmark = pytest.mark.integration
SIGNATURE = ModelSignature(inputs=[TensorSignature(name="x", datatype="FP32", shape=[-1, 4])], outputs=[])
Play = Callable[[socket.socket], None]


def spec() -> ReplicaSpec:
    return ReplicaSpec(
        endpoint_id="endpoint",
        endpoint_name="digits",
        organization_id="org-a",
        replica_id="replica",
        variants=[],
        processes=1,
        memory_limit_bytes=1 << 30,
        cpu_count=1.0,
        process_limit=10,
        disk_limit_bytes=1 << 30,
    )


def listen(folder: Path, name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.open(folder, os.O_PATH)
    listener.bind(f"/proc/self/fd/{descriptor}/{name}")
    os.close(descriptor)
    listener.listen(8)
    return listener


def hello(replica_id: str = "replica") -> bytes:
    said = ReplicaHello(replica_id=replica_id, endpoint_id="endpoint", endpoint_name="digits", process=0, pid=1)
    return packets.HELLO + msgspec.json.encode(said)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def gateway_meets(folder: Path, play: Play, seconds: float = 1.0) -> Gateway:
    """A gateway whose only replica does `play` on every line that is opened to it; returns it after some time."""
    listener = listen(folder, "replica-0.sock")
    snapshot = RouteSnapshot(
        version=1, routes=[route(spec(), folder.parent, {"a": 1})], keys=[key("org-a", "secret-a")]
    )

    def serve() -> None:
        listener.settimeout(seconds)
        line, _ = listener.accept()
        with line:
            line.settimeout(seconds)
            with contextlib.suppress(OSError):
                play(line)
            time.sleep(0.1)

    async def live() -> Gateway:
        gateway = Gateway(asyncio.get_running_loop(), RoutingTable(snapshot))
        thread = threading.Thread(target=serve)
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0.05)
        return gateway

    with listener:
        gateway = asyncio.run(live())
    gateway.close()
    return gateway


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_that_are_no_sockets_take_no_descriptors(run: Path) -> None:
    before = open_descriptors()

    def play(line: socket.socket) -> None:
        line.send(hello())
        for _ in range(300):
            with Path("/dev/null").open("rb") as file:
                socket.send_fds(line, [packets.BACK + b"i"], [file.fileno()])

    gateway_meets(run, play)
    assert open_descriptors() <= before + 5


def test_a_replica_that_greets_and_drains_without_end_takes_no_memory(run: Path) -> None:
    answered = []

    def play(line: socket.socket) -> None:
        for _ in range(2000):
            line.send(hello())
        for _ in range(2000):
            line.send(packets.DRAINING)
        time.sleep(0.2)
        line.settimeout(0.1)
        while True:
            answered.append(line.recv(65536)[:1])

    gateway_meets(run, play)
    assert answered == [packets.ROUTE, packets.DRAINING]


@pytest.mark.parametrize(
    "said", [b"H" + b"[" * 50_000, b'H{"a":' + b"[" * 20_000, b"H\xff", b"Lx y z", b"L" + b"9" * 50_000]
)
def test_nonsense_ends_the_line_at_most(run: Path, said: bytes) -> None:
    gateway_meets(run, lambda line: (line.send(said), None)[1])


def test_a_folder_of_sockets_is_not_all_followed(run: Path, tmp_path: Path) -> None:
    others = [listen(run, f"replica-{number}.sock") for number in range(1, 100)]
    (run / "replica-999.sock").symlink_to(run / "replica-1.sock")
    for number in range(50):
        (run / f"replica-{number}x.sock").touch()
    before = open_descriptors()
    seen: list[int] = []

    def play(line: socket.socket) -> None:
        line.send(hello())
        seen.append(open_descriptors())

    gateway_meets(run, play)
    assert seen[0] - before <= PROCESSES_PER_REPLICA + 10
    for each in others:
        each.close()
    assert tmp_path.exists()


# --- the agent's probe ----------------------------------------------------------------------------


def probed(folder: Path, play: Play) -> tuple[bool, str, float]:
    listener = listen(folder, "replica-0.sock")

    def serve() -> None:
        listener.settimeout(3)
        line, _ = listener.accept()
        _, descriptors, _, _ = socket.recv_fds(line, 100, 1)
        line.close()
        with socket.socket(fileno=descriptors[0]) as passed, contextlib.suppress(OSError):
            play(passed)

    thread = threading.Thread(target=serve)
    thread.start()
    began = time.monotonic()
    found = probe(folder / "replica-0.sock", "digits", "a", SIGNATURE, "token", timeout_seconds=1.0)
    took = time.monotonic() - began
    listener.close()
    thread.join()
    return found.ok, found.detail, took


def test_a_signature_without_measure_is_refused(run: Path) -> None:
    huge = ModelSignature(inputs=[TensorSignature(name="x", datatype="FP64", shape=[-1, 10**9, 10**9])], outputs=[])
    found = probe(run / "replica-0.sock", "digits", "a", huge, "token")
    assert not found.ok
    assert "bytes" in found.detail


def test_an_answer_that_drips_is_given_up(run: Path) -> None:
    def play(passed: socket.socket) -> None:
        passed.sendall(b"HTTP/1.1 200 OK\r\nx-modelyard-variant: a\r\nx: ")
        for _ in range(60):
            passed.sendall(b"y")
            time.sleep(0.05)

    ok, _, took = probed(run, play)
    assert not ok
    assert took < 2.0


def test_an_answer_of_nuls_and_novels_is_cut(run: Path) -> None:
    def play(passed: socket.socket) -> None:
        passed.sendall(b"HTTP/1.1 500 No\r\ncontent-length: 4000\r\n\r\n" + b"\x00" * 4000)

    ok, detail, _ = probed(run, play)
    assert not ok
    assert "\x00" not in detail
    assert len(detail) <= 500
