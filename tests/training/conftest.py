"""Digits on disk, and job processes opened on them. The process's signal handler is put back after each
test.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.folders import sklearn_digits, write_channel


@pytest.fixture(scope="session")
def digits_channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 train, 60 validation and 60 test digits, 8x8."""
    return write_channel(tmp_path_factory.mktemp("digits"), sklearn_digits(200, 60, 60))


@pytest.fixture(autouse=True)
def _signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
