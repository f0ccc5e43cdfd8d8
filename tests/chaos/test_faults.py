"""The faults of the chaos tests are real: each strikes the process it is meant for, and is over afterwards."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.chaos.faults import cut_off, stopped
from tests.fixtures.disks import Disks, can_mount
from tests.platform.waiting import until

pytestmark = pytest.mark.integration

# Answers `pong` on TCP and on a Unix socket; calls another again and again and prints since when, and how it went.
SERVER = """
import socket, sys, threading, time
home, answering = sys.argv[1], int(sys.argv[2])

def serve(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=talk, args=(connection,), daemon=True).start()

def talk(connection):
    with connection:
        while connection.recv(4) == b"ping":
            connection.sendall(b"pong")

def listen(listener):
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    return listener

tcp = listen(socket.create_server(("127.0.0.1", 0)))
unix = socket.socket(socket.AF_UNIX)
unix.bind(home + "/served.sock")
unix.listen()
listen(unix)
print(tcp.getsockname()[1], flush=True)
while True:
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", answering), timeout=5) as up:
            up.settimeout(5)
            time.sleep(0.2)
            up.sendall(b"ping")
            print(began, "answered" if up.recv(4) == b"pong" else "broken", flush=True)
    except OSError:
        print(began, "broken", flush=True)
"""


def connected(address: "tuple[str, int] | str") -> socket.socket:
    """A connection; raises OSError within a second."""
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(kind)
    connection.settimeout(1)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def ping(connection: socket.socket) -> bytes:
    """What is answered; nothing when the connection is closed."""
    try:
        connection.sendall(b"ping")
        return connection.recv(4)
    except (BrokenPipeError, ConnectionResetError):
        return b""


class Served:
    """The server's process, and the parent that it calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder / "up"), "1"], stdout=subprocess.PIPE, text=True
        )
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder), self._line(self.upstream)], stdout=subprocess.PIPE, text=True
        )
        self.tcp = ("127.0.0.1", int(self._line(self.server)))
        self.unix = str(folder / "served.sock")

    @staticmethod
    def _line(process: "subprocess.Popen[str]") -> str:
        stream: IO[str] | None = process.stdout
        assert stream is not None
        return stream.readline().strip()

    def said(self) -> tuple[float, str]:
        """When it began to call, and how that went."""
        began, outcome = self._line(self.server).split()
        return float(began), outcome

    def close(self) -> None:
        for process in (self.server, self.upstream):
            process.kill()
            process.communicate()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    # A Unix socket's path has 107 bytes at most.
    (tmp_path / "up").mkdir()
    there = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    made = Served(Path(f"/proc/{os.getpid()}/fd/{there}"))
    yield made
    made.close()
    os.close(there)


def test_a_stopped_process_does_nothing_until_it_may_go_on(served: Served) -> None:
    with connected(served.tcp) as connection:
        assert ping(connection) == b"pong"
        process = psutil.Process(served.server.pid)
        with stopped(process):
            assert until(lambda: process.status() == psutil.STATUS_STOPPED)
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                ping(connection)
        connection.settimeout(5)
        assert connection.recv(4) == b"pong"


def test_a_process_that_is_cut_off_is_reached_by_nobody(served: Served) -> None:
    with connected(served.tcp) as one, connected(served.unix) as other:
        assert (ping(one), ping(other)) == (b"pong", b"pong")
        with cut_off(psutil.Process(served.server.pid)):
            assert (ping(one), ping(other)) == (b"", b"")
            with pytest.raises(TimeoutError):
                connected(served.tcp)
            with pytest.raises(FileNotFoundError):
                connected(served.unix)
    for address in (served.tcp, served.unix):
        with connected(address) as again:
            assert ping(again) == b"pong"


def test_a_process_that_is_cut_off_reaches_nobody(served: Served) -> None:
    assert until(lambda: served.said()[1] == "answered")
    with cut_off(psutil.Process(served.server.pid)):
        began = time.monotonic()
        time.sleep(2)
        ended = time.monotonic()
    meanwhile: list[str] = []
    while (said := served.said())[0] < ended - 0.5:
        meanwhile += [said[1]] if said[0] > began else []
    assert meanwhile
    assert set(meanwhile) == {"broken"}
    assert until(lambda: served.said()[1] == "answered")


@pytest.mark.skipif(not can_mount(), reason="mounting takes root")
def test_on_a_full_disk_nothing_can_be_written_until_there_is_room(tmp_path: Path) -> None:
    disks = Disks(tmp_path / "home")
    (tmp_path / "home").mkdir()
    disks.mount()
    try:
        with disks.full("objects"):
            assert write_elsewhere(tmp_path / "home" / "objects" / "a") == "No space left on device"
            assert write_elsewhere(tmp_path / "home" / "instances" / "a") == "written"
        assert write_elsewhere(tmp_path / "home" / "objects" / "a") == "written"
    finally:
        disks.unmount()
    assert list((tmp_path / "home").iterdir()) == []


def write_elsewhere(path: Path) -> str:
    """What another process is told when it writes 10 kB."""
    program = (
        "import pathlib, sys\n"
        "try: pathlib.Path(sys.argv[1]).write_bytes(bytes(10_000)); print('written')\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()
