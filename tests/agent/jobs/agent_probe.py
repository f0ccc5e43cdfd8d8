"""A job of a hostile tenant: tries what its parameters name and says what came of it in its result."""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from worker.jobprocess import JobProcess


def read(argument: str) -> str:
    return f"read {len(Path(argument).read_bytes())} bytes"


def write(argument: str) -> str:
    Path(argument).write_text("x")
    return "written"


def connect(argument: str) -> str:
    host, port = argument.rsplit(":", 1)
    socket.create_connection((host, int(port)), timeout=2).close()
    return "connected"


def environment(_argument: str) -> str:
    return "environment " + json.dumps(dict(os.environ))


def processes(_argument: str) -> str:
    return f"processes {sorted(int(path.name) for path in Path('/proc').iterdir() if path.name.isdigit())}"


def user(_argument: str) -> str:
    wanted = ("CapEff", "CapBnd", "CapPrm", "NoNewPrivs")
    lines = Path("/proc/self/status").read_text().replace("\t", "").splitlines()
    return f"user {os.getuid()} " + " ".join(line for line in lines if line.startswith(wanted))


def namespace(argument: str) -> str:
    """`unshare` or `clone` with CLONE_NEW* flags."""
    call, flags = argument.split()
    library = ctypes.CDLL(None, use_errno=True)
    numbers = {"x86_64": {"unshare": 272, "clone": 56}, "aarch64": {"unshare": 97, "clone": 220}}
    said = library.syscall(numbers[os.uname().machine][call], int(flags, 16), 0, 0, 0, 0)
    if said == 0 and call == "clone":
        os._exit(0)
    if said < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "entered"


def family(argument: str) -> str:
    socket.socket(int(argument), socket.SOCK_STREAM).close()
    return "opened"


def unix(argument: str) -> str:
    """A Unix socket by its path; `@name` is one without."""
    address = argument.replace("@", "\x00", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(address)
    return "connected"


def descriptors(_argument: str) -> str:
    links = sorted(Path("/proc/self/fd").iterdir(), key=lambda link: int(link.name))[:-1]  # the last one lists
    return json.dumps({link.name: str(link.readlink()) for link in links})


ACTIONS: dict[str, Callable[[str], str]] = {
    "read": read,
    "write": write,
    "connect": connect,
    "environment": environment,
    "processes": processes,
    "user": user,
    "namespace": namespace,
    "family": family,
    "descriptors": descriptors,
    "unix": unix,
}


def attempt(action: str, argument: str) -> str:
    try:
        return ACTIONS[action](argument)
    except OSError as error:
        return f"refused: {error.strerror}"


def main() -> None:
    process = JobProcess.open()
    found = {f"{action} {argument}": attempt(action, argument) for action, argument in process.spec.parameters["tries"]}
    folder = process.work_folder / "result"
    folder.mkdir()
    (folder / "found.json").write_text(json.dumps(found))
    link = process.spec.parameters.get("link")
    if link:
        (folder / "link").symlink_to(link)
        (folder / "linked_folder").symlink_to(Path(link).parent)
        os.mkfifo(folder / "fifo")
    process.result_written(folder, found)


if __name__ == "__main__":
    main()
    sys.exit(0)
