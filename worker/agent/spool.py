"""Reports on disk until they are acknowledged: append-only JSON lines in segments named by their first number.

Sequence numbers count from 1 without gaps. A segment all of whose reports are acknowledged is removed, except
the newest, from which the next number is known after a restart. Nothing is written about acknowledgements: what
is replayed needlessly is dropped by the control plane. Lines go to the page cache at once, so a killed
agent loses none; before they are sent they are fsynced, so a power cut can never reuse a number that was heard.
A last line torn by a power cut was never sent, and is cut off.

A disk that is full stops no process and loses no report: what finds no room waits in memory, in order, and is written
with the next report or before the next delivery. Only what is on disk is sent.
"""

import errno
import logging
import os
import threading
from array import array
from collections import deque
from pathlib import Path

import msgspec

from backend.core.wire import Report, ReportBody

SEGMENT_BYTES = 4 << 20
_LOG = logging.getLogger(__name__)


class _Segment:
    """One file of the spool, and where its lines begin."""

    def __init__(self, path: Path, first_seq: int) -> None:
        self.path = path
        self.first_seq = first_seq
        self.offsets = array("Q")
        self.size_bytes = 0

    @property
    def next_seq(self) -> int:
        return self.first_seq + len(self.offsets)

    def load(self) -> None:
        """Find the lines; cut off a torn last one."""
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offsets.append(self.size_bytes)
                self.size_bytes += len(line)
        os.truncate(self.path, self.size_bytes)


class Spool:
    """The spool of one assignment in one epoch. Safe to use from several threads."""

    def __init__(self, folder: Path, assignment_id: str, epoch: int) -> None:
        self._folder = folder
        self._assignment_id = assignment_id
        self._epoch = epoch
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._segments = [_Segment(path, int(path.stem)) for path in sorted(folder.glob("*.jsonl"))]
        for segment in self._segments:
            segment.load()
        if not self._segments:
            self._segments.append(_Segment(folder / f"{1:012}.jsonl", 1))
        self._file = self._segments[-1].path.open("ab", buffering=0)
        self._unsynced = False
        self._waiting: deque[bytes] = deque()
        self.accepted = self._segments[0].first_seq - 1

    @property
    def next_seq(self) -> int:
        """The number that the next report gets."""
        return self._segments[-1].next_seq + len(self._waiting)

    @property
    def pending(self) -> int:
        """How many reports are not yet acknowledged."""
        return self.next_seq - 1 - self.accepted

    def append(self, elapsed_seconds: float, body: ReportBody) -> Report:
        """Number a report and keep it: on disk, or in memory until there is room."""
        with self._lock:
            report = Report(
                assignment_id=self._assignment_id,
                epoch=self._epoch,
                seq=self.next_seq,
                elapsed_seconds=round(elapsed_seconds, 6),
                body=body,
            )
            self._waiting.append(msgspec.json.encode(report) + b"\n")
            self._write_waiting()
            return report

    def _write_waiting(self) -> None:
        """What waits, in order, as far as there is room."""
        waited = len(self._waiting) > 1
        try:
            while self._waiting:
                if self._segments[-1].size_bytes > SEGMENT_BYTES:
                    self._start_segment()
                self._write(self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            if not waited:
                _LOG.error("reports of assignment %s wait in memory: %s", self._assignment_id, error)
        else:
            if waited:
                _LOG.info("reports of assignment %s are on disk again", self._assignment_id)

    def _write(self, line: bytes) -> None:
        """One whole line, or nothing. Raises OSError."""
        segment = self._segments[-1]
        written = 0
        try:
            written = self._file.write(line)
        finally:
            if written != len(line):
                os.ftruncate(self._file.fileno(), segment.size_bytes)
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.offsets.append(segment.size_bytes)
        segment.size_bytes += len(line)
        self._unsynced = True

    def _start_segment(self) -> None:
        os.fsync(self._file.fileno())
        first = self._segments[-1].next_seq
        path = self._folder / f"{first:012}.jsonl"
        opened = path.open("ab", buffering=0)
        self._file.close()
        self._file = opened
        self._segments.append(_Segment(path, first))

    def batch(self, max_reports: int, max_bytes: int) -> list[bytes]:
        """The oldest unacknowledged reports as JSON, safe on disk; at least one if there is any."""
        with self._lock:
            self._write_waiting()
            if self._unsynced:
                os.fsync(self._file.fileno())
                self._unsynced = False
            return self._read(max_reports, max_bytes)

    def _read(self, max_reports: int, max_bytes: int) -> list[bytes]:
        lines: list[bytes] = []
        room = max_bytes
        for segment in self._segments:
            skip = max(0, self.accepted + 1 - segment.first_seq)
            if skip >= len(segment.offsets):
                continue
            with segment.path.open("rb") as file:
                file.seek(segment.offsets[skip])
                for _ in range(skip, len(segment.offsets)):
                    line = file.readline()
                    if len(lines) >= max_reports or (lines and len(line) > room):
                        return lines
                    lines.append(line[:-1])
                    room -= len(line)
        return lines

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` has been heard; whole segments of it are removed."""
        with self._lock:
            self.accepted = min(max(self.accepted, seq), self._segments[-1].next_seq - 1)
            while len(self._segments) > 1 and self._segments[0].next_seq - 1 <= self.accepted:
                self._segments.pop(0).path.unlink()

    def last(self) -> Report | None:
        """What was said last, if it is still on disk."""
        with self._lock:
            segment = self._segments[-1]
            if not segment.offsets:
                return None
            with segment.path.open("rb") as file:
                file.seek(segment.offsets[-1])
                return msgspec.json.decode(file.readline(), type=Report)

    def close(self) -> None:
        """Close the file; the spool stays on disk."""
        with self._lock:
            self._file.close()
