"""Logs of children: files in `home/logs`, kept small, and their warnings shown on the console.

A child writes straight into its file (appending), so that it never blocks on, or dies with, its supervisor; the
supervisor follows the files. A file past its limit is copied to `.1` and truncated: the few lines
written in between may be lost, which is what "simply rotated" costs.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

_LIMIT_BYTES = 20 * 1024 * 1024
_LINES_PER_LOOK = 5
_LINE_CHARACTERS = 180
_READ_BYTES = 256 * 1024
# A level as PostgreSQL, Valkey, Celery, uvicorn or structlog (console and JSON) write it; not the bare word.
_WORTH_SHOWING = re.compile(r'\b(WARNING|ERROR|CRITICAL|FATAL|PANIC)\b|^Traceback|[\["](warning|error|critical)[\s\]"]')


class LogFollower:
    """Follows one child's log; `show` gets its short prefixed warning lines."""

    def __init__(self, name: str, path: Path, show: Callable[[str], None], hidden: Sequence[str] = ()) -> None:
        self._name = name
        self._path = path
        self._show = show
        self._hidden = hidden
        path.touch(mode=0o600)
        self._offset = path.stat().st_size

    def look(self, *, quiet: bool = False) -> None:
        """Show what is new and worth showing (`quiet`: pass over it); rotate a long file."""
        size = self._path.stat().st_size
        if size < self._offset:
            self._offset = 0
        if size > self._offset:
            self._offset = size if quiet else self._offset_after_showing()
        if size > _LIMIT_BYTES:
            self._rotate()

    def _offset_after_showing(self) -> int:
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            chunk = stream.read(_READ_BYTES)
        whole = chunk.rfind(b"\n") + 1
        if whole == 0 and len(chunk) < _READ_BYTES:
            return self._offset
        lines = chunk[: whole or None].decode(errors="replace").splitlines()
        worth = [line for line in lines if self._is_worth_showing(line)]
        for line in worth[:_LINES_PER_LOOK]:
            self._show(f"[{self._name}] {_shortened(line)}")
        if len(worth) > _LINES_PER_LOOK:
            self._show(f"[{self._name}] … and {len(worth) - _LINES_PER_LOOK} more lines in {self._path}")
        return self._offset + (whole or len(chunk))

    def _is_worth_showing(self, line: str) -> bool:
        return bool(_WORTH_SHOWING.search(line)) and not any(words in line for words in self._hidden)

    def _rotate(self) -> None:
        shutil.copyfile(self._path, self._path.with_suffix(".log.1"))
        with self._path.open("r+b") as stream:
            stream.truncate(0)
        self._offset = 0


def _shortened(line: str) -> str:
    """The line for a terminal: not too long, and without what would steer it."""
    cut = line if len(line) <= _LINE_CHARACTERS else line[:_LINE_CHARACTERS] + "…"
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in cut)
