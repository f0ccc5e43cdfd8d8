"""The four faults of the matrix: they strike on entering and are undone on leaving."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil

from tests.chaos.faults import cut_off, disk_full, stopped
from tests.chaos.matrix.cases import CUT, DISK, KILL, STOP
from tests.fixtures.platform import RunningPlatform

Fault = Callable[[RunningPlatform, str, psutil.Process], AbstractContextManager[None]]
DISK_OF = {"compressor": "trainer", "server": "replica"}
"""Processes that write where another one does."""


@contextmanager
def killed(process: psutil.Process) -> Iterator[None]:
    """kill -9. There is nothing to undo."""
    process.kill()
    process.wait(10)
    yield


STRIKES: dict[str, Fault] = {
    KILL: lambda _platform, _name, process: killed(process),
    STOP: lambda _platform, _name, process: stopped(process),
    DISK: lambda platform, name, _process: disk_full(platform, DISK_OF.get(name, name)),
    CUT: lambda _platform, _name, process: cut_off(process),
}
