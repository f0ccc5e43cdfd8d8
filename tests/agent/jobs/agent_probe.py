"""A job of a hostile tenant: tries what its parameters name and says what came of it in its result."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from worker.jobprocess import JobProcess


def attempt(action: str, argument: str) -> str:
    try:
        match action:
            case "read":
                return f"read {len(Path(argument).read_bytes())} bytes"
            case "list":
                return f"listed {sorted(os.listdir(argument))}"
            case "write":
                Path(argument).write_text("x")
                return "written"
            case "connect":
                host, port = argument.rsplit(":", 1)
                socket.create_connection((host, int(port)), timeout=2).close()
                return "connected"
            case "environment":
                return "environment " + json.dumps(dict(os.environ))
            case "processes":
                return f"processes {sorted(int(n) for n in os.listdir('/proc') if n.isdigit())}"
            case "user":
                status = Path("/proc/self/status").read_text()
                wanted = ("CapEff", "CapBnd", "CapPrm", "NoNewPrivs")
                return f"user {os.getuid()} " + " ".join(
                    line.replace("\t", "") for line in status.splitlines() if line.startswith(wanted)
                )
            case "userns":
                return f"unshare {subprocess.run(['unshare', '-U', 'true'], check=False).returncode}"
            case _:
                return "unknown"
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
