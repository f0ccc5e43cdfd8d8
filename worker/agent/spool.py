"""Reports on disk until they are acknowledged: append-only JSON lines in segments named by their first number.

Sequence numbers count from 1 without gaps. A segment all of whose reports are acknowledged is removed, except
the newest, from which the next number is known after a restart. Nothing is written about acknowledgements: what
is replayed needlessly is dropped by the control plane. Lines go to the page cache at once, so a killed
agent loses none; before they are sent they are fsynced, so a power cut can never reuse a number that was heard.
A last line torn by a power cut was never sent, and is cut off.
"""

import os
import threading
from array import array
from pathlib import Path

import msgspec

from backend.core.wire import Report, ReportBody

SEGMENT_BYTES = 4 << 20


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
        self._file = self._segments[-1].path.open("ab")
        self._unsynced = False
        self.accepted = self._segments[0].first_seq - 1

    @property
    def next_seq(self) -> int:
        """The number that the next report gets."""
        return self._segments[-1].next_seq

    @property
    def pending(self) -> int:
        """How many reports are not yet acknowledged."""
        return self.next_seq - 1 - self.accepted

    def append(self, elapsed_seconds: float, body: ReportBody) -> Report:
        """Number a report and keep it."""
        with self._lock:
            report = Report(
                assignment_id=self._assignment_id,
                epoch=self._epoch,
                seq=self.next_seq,
                elapsed_seconds=round(elapsed_seconds, 6),
                body=body,
            )
            line = msgspec.json.encode(report) + b"\n"
            if self._segments[-1].size_bytes > SEGMENT_BYTES:
                self._start_segment()
            segment = self._segments[-1]
            self._file.write(line)
            self._file.flush()
            segment.offsets.append(segment.size_bytes)
            segment.size_bytes += len(line)
            self._unsynced = True
            return report

    def _start_segment(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        first = self.next_seq
        self._segments.append(_Segment(self._folder / f"{first:012}.jsonl", first))
        self._file = self._segments[-1].path.open("ab")

    def batch(self, max_reports: int, max_bytes: int) -> list[bytes]:
        """The oldest unacknowledged reports as JSON, safe on disk; at least one if there is any."""
        with self._lock:
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
            self.accepted = min(max(self.accepted, seq), self.next_seq - 1)
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
