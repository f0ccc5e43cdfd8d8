"""`python -m worker.localhost --home DIR --socket PATH`: see the package's docstring."""

import ctypes
import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from worker.localhost.cloud import Cloud
from worker.localhost.machine import Place
from worker.localhost.server import CloudServer

_PR_SET_CHILD_SUBREAPER = 36
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main(
    home: Annotated[Path, typer.Option(help="The platform's home folder.")],
    socket: Annotated[Path, typer.Option(help="Where to listen: a Unix socket.")],
    grace_seconds: Annotated[float, typer.Option(help="From SIGTERM to SIGKILL of a machine.")] = 20.0,
    agent_command: Annotated[str, typer.Option(help="JSON list: what a machine runs; --folder PATH is appended.")] = "",
) -> None:
    """Provide machines on this host until SIGTERM; then terminate them all."""
    os.umask(0o077)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    home = home.resolve()
    (home / "localhost").mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(home / "localhost" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another local provider serves {home}")
    command = json.loads(agent_command) if agent_command else [sys.executable, "-P", "-m", "worker.agent"]
    runtime = Path(os.environ.get("MODELYARD_AGENT_RUNTIME") or socket.absolute().parent)
    cloud = Cloud(Place(home=home, runtime=runtime, agent_command=command, grace_seconds=grace_seconds))
    _serve(cloud, socket)


def _serve(cloud: Cloud, socket: Path) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: threading.Thread(target=cloud.close).start())
    server = CloudServer(socket, cloud)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        cloud.run()
    finally:
        server.shutdown()
        server.server_close()
        socket.unlink(missing_ok=True)


if __name__ == "__main__":
    typer.run(main)
