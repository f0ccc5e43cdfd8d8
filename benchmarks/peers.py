"""Peers live in virtual environments of their own, made on first use and kept.

Where: the folder that MODELYARD_PEERS names, else `~/.cache/modelyard/peers`; one environment per peer.
"""

import os
import subprocess
import sys
from pathlib import Path


def peer_environment(name: str, *packages: str, python: str | None = None) -> Path:
    """The `bin` folder of the peer's environment, with these packages in it; made by `python`, or by this one."""
    base = Path(os.environ.get("MODELYARD_PEERS") or Path.home() / ".cache" / "modelyard" / "peers")
    folder = base / name
    ready = folder / "ready"
    wanted = " ".join(packages)
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {wanted} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([python or sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        ready.write_text(wanted)
    return folder / "bin"
