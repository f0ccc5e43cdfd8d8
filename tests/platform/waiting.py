"""Waiting for processes in tests."""

import time
from collections.abc import Callable, Iterable

import psutil


def until(check: Callable[[], bool], timeout_seconds: float = 15.0) -> bool:
    """True once `check()`; False when it is still not true after the time."""
    deadline = time.monotonic() + timeout_seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run (a zombie does not, a reused process id is somebody else)."""
    alive = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
        except psutil.NoSuchProcess:
            continue
    return alive


def all_gone(processes: Iterable[psutil.Process], timeout_seconds: float = 15.0) -> bool:
    """True once none of them runs."""
    kept = list(processes)
    return until(lambda: not living(kept), timeout_seconds)
