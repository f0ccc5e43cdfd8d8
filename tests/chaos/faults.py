"""What can go wrong with one process, for as long as a `with` lasts: it stands still, its disk is full, it is cut off.

Each fault is real, strikes that process alone, and is over when the block is left:

- `stopped`: SIGSTOP to the process and all below it, so its connections stay open and nobody answers; SIGCONT after.
- `disk_full`: the file system that the process writes to has no block left, so the kernel answers ENOSPC. It needs a
  platform whose home lies on file systems of its own (`new_running_platform(disks=True)`), which takes root.
- `cut_off`: every connection that the process has or makes is broken, and nobody gets a new one to it.
"""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import psutil
import redis

from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.folders import runtime_folder
from tests.fixtures.platform import RunningPlatform, stop_tree

DISK_OF = MappingProxyType(
    {
        "agent": "instances",
        "api": "objects",
        "beat": "home",
        "gateway": "gateway",
        "grpc": "gateway",
        "localhost": "localhost",
        "postgres": "postgres",
        "replica": "instances",
        "supervisor": "home",
        "trainer": "instances",
        "worker": "logs",
    }
)
"""Process → the file system of the home that it writes to (`tests.fixtures.disks.SIZES`)."""

LOOK_SECONDS = 0.01
_PIDFD_GETFD = 438
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """The process and all below it do nothing inside (SIGSTOP), and go on where they were afterwards."""
    still: list[psutil.Process] = []
    try:
        still += stop_tree(process)
        yield
    finally:
        for each in reversed(still):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()


@contextmanager
def disk_full(platform: RunningPlatform, process: str) -> Iterator[None]:
    """What this process writes to is full inside: ENOSPC. `process`: a key of `DISK_OF`, or `valkey`.

    Valkey keeps everything in memory and writes no file: it gets no memory, and answers OOM to what would need some.
    """
    with _memory_full(platform) if process == "valkey" else platform.disks.full(DISK_OF[process]):
        yield


@contextmanager
def _memory_full(platform: RunningPlatform) -> Iterator[None]:
    server = EmbeddedValkey(platform.home, runtime_folder(platform.home))
    with redis.Redis.from_url(server.url()) as connection:
        before = connection.config_get("maxmemory")["maxmemory"]
        connection.config_set("maxmemory", 1)
        try:
            yield
        finally:
            connection.config_set("maxmemory", before)


@contextmanager
def cut_off(process: psutil.Process) -> Iterator[None]:
    """Nobody reaches the process inside, and it reaches nobody: TCP and Unix sockets, its children's too.

    Its connections are shut down, those it makes later too, within 10 ms: a request may still arrive whose answer
    does not, and a statement of a few milliseconds (the API's beat) may get through. What listens on TCP answers no
    more (its packets are dropped, as by a cable that is out), a Unix socket that listens is not where it was (ENOENT).
    Children in a sandbox of their own are others, and so are pairs of sockets without a name: they lead to children.
    """
    cut = _Cut(process)
    with ExitStack() as healing:
        healing.callback(cut.heal)
        cut.look()
        thread = threading.Thread(target=cut.keep, name="cut", daemon=True)
        thread.start()
        healing.callback(thread.join)
        healing.callback(cut.over.set)
        yield


class _Cut:
    """The sockets of one process, found again and again."""

    def __init__(self, process: psutil.Process) -> None:
        self.over = threading.Event()
        self._process = process
        self._view = _mount_namespace(process.pid)
        self._known: set[str] = set()
        self._deaf: list[socket.socket] = []
        self._hidden: list[tuple[int, str]] = []

    def keep(self) -> None:
        """Cut what is new until it is over."""
        while not self.over.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Cut every socket that was not there before."""
        for pid in self._pids():
            with contextlib.suppress(OSError):
                self._look_at(pid)

    def heal(self) -> None:
        """What listened listens again."""
        for listener in self._deaf:
            with listener:
                listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        for folder, name in self._hidden:
            with contextlib.suppress(OSError):
                os.rename(f"{name}.cut", name, src_dir_fd=folder, dst_dir_fd=folder)
            os.close(folder)

    def _pids(self) -> list[int]:
        """The process, and those below it that see the same files: others are in a sandbox."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = [child.pid for child in self._process.children(recursive=True)]
            return [self._process.pid, *(pid for pid in below if _mount_namespace(pid) == self._view)]
        return []

    def _look_at(self, pid: int) -> None:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                name = str(Path(entry.path).readlink())
                if name.startswith("socket:") and name not in self._known:
                    self._known.add(name)
                    self._cut(pid, _descriptor_of(pid, int(entry.name)))

    def _cut(self, pid: int, found: socket.socket) -> None:
        if found.family not in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX} or found.type == socket.SOCK_DGRAM:
            found.close()
        elif not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            with found:
                self._break(found)
        elif found.family == socket.AF_UNIX:
            with found:
                self._hide(pid, found.getsockname())
        else:
            _drop_everything(found)
            self._deaf.append(found)

    def _break(self, connection: socket.socket) -> None:
        if connection.family == socket.AF_UNIX and not connection.getsockname() and not connection.getpeername():
            return
        connection.shutdown(socket.SHUT_RDWR)

    def _hide(self, pid: int, name: str | bytes) -> None:
        text = os.fsdecode(name)
        if not text or text.startswith("\0"):
            return
        place = Path(f"/proc/{pid}/root{text}" if text.startswith("/") else f"/proc/{pid}/cwd/{text}")
        # The folder stays open: its path may lead nowhere once the process is gone.
        folder = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            os.rename(place.name, f"{place.name}.cut", src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.close(folder)
            raise
        self._hidden.append((folder, place.name))


def _mount_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def _descriptor_of(pid: int, descriptor: int) -> socket.socket:
    """A socket of another process, shared with it (pidfd_getfd(2)). Raises OSError."""
    holder = os.pidfd_open(pid)
    try:
        found: int = _libc.syscall(_PIDFD_GETFD, holder, descriptor, 0)
    finally:
        os.close(holder)
    if found < 0:
        number = ctypes.get_errno()
        if number == errno.EPERM:
            raise PermissionError(number, f"may not take descriptors of process {pid}: it takes root, or ptrace")
        raise OSError(number, os.strerror(number))
    return socket.socket(fileno=found)


def _drop_everything(listener: socket.socket) -> None:
    """A classic BPF filter whose one instruction is `return 0`: no packet reaches the socket (socket(7))."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(instruction)))
