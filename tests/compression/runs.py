"""Compression jobs run in their folders."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.folders import Told, write_spec
from worker.compression.job import compress
from worker.jobprocess import run_job


def run(folder: Path, inputs: Path, parameters: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, Told]:
    """The exit code of a job on these input channels, and what it told."""
    shutil.copytree(inputs, folder / "input", dirs_exist_ok=True)
    capsys.readouterr()
    code = run_job(compress, write_spec(folder, "compression", parameters))
    said = capsys.readouterr()
    if code:
        sys.stderr.write(f"{said.out[-2000:]}\n{said.err[-4000:]}\n")  # what pytest shows of a test that fails
    return code, Told.parse(said.out)
