"""Clients that are too slow, seen by a gateway and a replica process inside this process, clock in hand."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from tests.serving import models
from tests.serving.plane import PROBE_TOKEN, request_bytes, sha256
from worker.serving.connection import Connection
from worker.serving.model import Model
from worker.serving.placement import Gateway
from worker.serving.process import PROBE_VARIABLE, ReplicaProcess
from worker.serving.table import RoutingTable

pytestmark = pytest.mark.integration


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PROBE_VARIABLE, sha256(PROBE_TOKEN))
    return tmp_path


async def talk(folder: Path, sent: bytes, *later: float) -> bytes:
    """Send to a replica process, let time pass, and read what it says until it closes or is silent."""
    spec = models.replica_spec([models.linear_variant(folder, "a", 1.0)])
    models.replica_folder(folder, spec)
    process = ReplicaProcess(spec, folder, 0, {"a": Model.load(folder / "models" / "a", "a", "v", 1)})
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    connection = Connection(process, b"", from_gateway=False)
    await loop.connect_accepted_socket(lambda: connection, theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(sent)
    await asyncio.sleep(0.05)
    for seconds in later:
        connection.tick(time.monotonic() + seconds)
    received = b""
    try:
        while data := await asyncio.wait_for(reader.read(65536), 0.3):
            received += data
    except TimeoutError:
        pass
    connection.abort()
    writer.close()
    await asyncio.sleep(0.02)
    return received


GOOD = request_bytes([[1, 2, 3, 4]], token=PROBE_TOKEN)


@pytest.mark.parametrize("sent", [GOOD[:30], GOOD[:-5]], ids=["half a head", "half a body"])
def test_a_sender_that_stops_gets_408(in_folder: Path, sent: bytes) -> None:
    assert asyncio.run(talk(in_folder, sent, 5.0)) == b""
    assert asyncio.run(talk(in_folder, sent, 11.0)).startswith(b"HTTP/1.1 408 ")


def test_an_answered_connection_may_idle_but_not_for_ever(in_folder: Path) -> None:
    async def closed_after(seconds: float) -> bool:
        began = time.monotonic()
        received = await talk(in_folder, GOOD, seconds)
        assert received.startswith(b"HTTP/1.1 200 ")
        return time.monotonic() - began < 0.3

    assert not asyncio.run(closed_after(60.0))
    assert asyncio.run(closed_after(80.0))


def test_the_gateway_waits_for_a_head_and_then_no_longer() -> None:
    async def ask(seconds: float) -> bytes:
        loop = asyncio.get_running_loop()
        gateway = Gateway(loop, RoutingTable(None))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0)
        gateway.listen(listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(GOOD[:30])
        await asyncio.sleep(0.05)
        gateway.tick(time.monotonic() + seconds)
        try:
            received = await asyncio.wait_for(reader.read(65536), 0.2)
        except TimeoutError:
            received = b"nothing"
        loop.remove_reader(listener.fileno())
        listener.close()
        gateway.close()
        writer.close()
        return received

    assert asyncio.run(ask(5.0)) == b"nothing"
    assert asyncio.run(ask(11.0)).startswith(b"HTTP/1.1 408 ")
