"""A trained model; and the process's signal handler is put back after each test."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.folders import sklearn_digits, write_channel, write_spec
from worker.jobprocess import run_job
from worker.training.job import train_and_export


@pytest.fixture(autouse=True)
def _signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job folder's inputs: channels `model` (trained on digits) and `dataset`."""
    folder = tmp_path_factory.mktemp("trained")
    write_channel(folder / "input" / "training", sklearn_digits(500, 200, 200))
    parameters = {"algorithm": "image-classification", "hyperparameters": {"epochs": 8, "width": 16}}
    assert run_job(train_and_export, write_spec(folder, "training", parameters)) == 0
    shutil.copytree(folder / "work" / "artifact", folder / "input" / "model")
    shutil.copytree(folder / "input" / "training", folder / "input" / "dataset")
    return folder / "input"
