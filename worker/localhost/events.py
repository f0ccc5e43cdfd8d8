"""The provider's own record: `log.jsonl`, one event per line, flushed to disk before the next step.

Event names: `requested` (with `shape`), `running` (the machine exists from here on: its seconds count),
`booted` (its process one, with `pid` and `start_ticks`; repeated after a `crashed`), `stopping`, `terminated`
(with no process left; seconds end here). Times: `wall_ns` (Unix) and `monotonic_ns`
(CLOCK_MONOTONIC, comparable within one `boot_id`).
"""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

EventName = Literal["requested", "running", "booted", "crashed", "stopping", "terminated"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the log."""

    event: EventName
    tag: str
    wall_ns: int
    monotonic_ns: int
    boot_id: str
    shape: str | None = None
    pid: int | None = None
    start_ticks: int | None = None


class EventLog:
    """Append-only. One writer: the daemon that holds the home's lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        """A power cut may leave half a line; it was never acted on."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._descriptor, whole)

    def replay(self) -> Iterator[Event]:
        """All events, oldest first."""
        for line in self._path.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=Event)

    def append(
        self,
        event: EventName,
        tag: str,
        *,
        shape: str | None = None,
        pid: int | None = None,
        start_ticks: int | None = None,
    ) -> Event:
        """Write one event now, durably; returns it. Raises OSError where there is no room, and has written nothing."""
        written = Event(
            event=event,
            tag=tag,
            wall_ns=time.time_ns(),
            monotonic_ns=time.monotonic_ns(),
            boot_id=self._boot_id,
            shape=shape,
            pid=pid,
            start_ticks=start_ticks,
        )
        line = msgspec.json.encode(written) + b"\n"
        size_bytes = os.fstat(self._descriptor).st_size
        done = 0
        try:
            done = os.write(self._descriptor, line)
        finally:
            if done != len(line):
                # Half a line would make what follows it unreadable, and the provider with it.
                os.ftruncate(self._descriptor, size_bytes)
        if done != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self._descriptor)
        return written

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
