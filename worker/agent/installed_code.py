"""Our code as the sandbox sees it: a copy, readable for any user, byte-compiled, without what jobs do not need."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

_BACKEND_FILES = ("__init__.py", "core/__init__.py")
_NOT_FOR_JOBS = ("agent", "tasks", "localhost", "__pycache__", "app.py", "context.py")


def install_code(target: Path) -> Path:
    """Copy `worker` (what jobs and replicas run) and the wire structs to `target`, replacing what is there."""
    beside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    worker = _folder_of("worker")
    top = {str(worker)}

    def leave_out(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name == "__pycache__" or (folder in top and name in _NOT_FOR_JOBS)}

    shutil.copytree(worker, beside / "worker", ignore=leave_out)
    backend = _folder_of("backend")
    for name in _BACKEND_FILES:
        (beside / "backend" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(backend / name, beside / "backend" / name)
    shutil.copytree(backend / "core/wire", beside / "backend/core/wire", ignore=shutil.ignore_patterns("__pycache__"))
    for folder, _, files in os.walk(beside):
        Path(folder).chmod(0o755)
        for file in files:
            (Path(folder) / file).chmod(0o644)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(beside)], check=True, timeout=60)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return target


def _folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"the package {package} is not importable")
    return Path(found.origin).parent
