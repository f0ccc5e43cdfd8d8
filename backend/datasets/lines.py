"""Lines of an uploaded file of hostile origin, plain or gzipped, within bounds of size. Pure.

A file without line breaks, a gzip bomb, a quote that never closes: each ends at a bound and is said so.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from typing import IO

from backend.datasets.problems import FileError, Problems

MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_BYTES = 8 * 1024**3
"""Of a file once it is unpacked."""
MAX_LINES = 20_000_000
MAX_CELL_CHARACTERS = 1_000_000
DELIMITERS = ",;\t"


class Lines:
    """Decoded lines; `number` counts them from 1. What is no UTF-8 is noted and read with replacements."""

    def __init__(self, file: IO[bytes], *, gzipped: bool, problems: Problems) -> None:
        file.seek(0)
        self._file: IO[bytes] = gzip.GzipFile(fileobj=file, mode="rb") if gzipped else file  # type: ignore[assignment]  # a GzipFile reads bytes
        self._problems = problems
        self._bytes = 0
        self._since_row = 0
        self.number = 0

    def row_ended(self) -> None:
        """A row is complete: the next line begins another one."""
        self._since_row = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """The next line with its end. Raises FileError at a bound."""
        try:
            line = self._file.readline(MAX_LINE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise FileError("corrupt_archive", f"the file cannot be unpacked: {error}") from error
        if not line:
            raise StopIteration
        self.number += 1
        self._bytes += len(line)
        self._since_row += len(line)
        self._check()
        return self._decoded(line)

    def _check(self) -> None:
        if self._since_row > MAX_LINE_BYTES:
            raise FileError("row_too_long", f"a row has more than {MAX_LINE_BYTES} bytes: perhaps a quote stays open")
        if self._bytes > MAX_BYTES or self.number > MAX_LINES:
            raise FileError("file_too_large", f"at most {MAX_BYTES} bytes in {MAX_LINES} lines are taken")

    def _decoded(self, line: bytes) -> str:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            self._problems.add("not_utf8", f"byte {error.start + 1} of the line is no UTF-8", line=self.number)
            text = line.decode(errors="replace")
        if "\x00" in text:
            self._problems.add("nul_character", "the line holds a NUL character", line=self.number)
        return text.removeprefix("\ufeff") if self.number == 1 else text


def csv_rows(lines: Lines, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """(line on which the row begins, its fields), header first; blank lines are passed over. Raises FileError."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    first = next(lines, "")
    delimiter = max(DELIMITERS, key=lambda each: (first.count(each), each == ","))
    reader = csv.reader(_after(first, lines), delimiter=delimiter, strict=True)
    while not problems.full:
        began = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add("not_csv", f"the row cannot be read: {error}", line=began)
            row = []
        lines.row_ended()
        if row:
            yield began, row


def _after(first: str, lines: Lines) -> Iterator[str]:
    yield first
    yield from lines
