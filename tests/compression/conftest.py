"""The process's signal handler is put back after each test."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
