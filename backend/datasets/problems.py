"""What is wrong with an uploaded file, line by line: bounded and printable, whatever the file held. Pure."""

from typing import Any

from backend.datasets.errors import InvalidFiles

MAX_ERRORS = 100
MAX_PATH_CHARACTERS = 512
MAX_MESSAGE_CHARACTERS = 500

Problem = dict[str, Any]
"""path, code, message; of a table also line (from 1, the header is line 1) and column."""


class FileError(Exception):
    """One file cannot be taken: a stable code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Problems:
    """The errors of one file as they are found, up to `MAX_ERRORS`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.found: list[Problem] = []

    @property
    def full(self) -> bool:
        """Whether there are as many as will be listed."""
        return len(self.found) >= MAX_ERRORS

    def add(self, code: str, message: str, *, line: int | None = None, column: str | None = None) -> None:
        """One more; nothing happens when the list is full."""
        if not self.full:
            self.found.append(problem(self._path, code, message, line=line, column=column))

    def check(self) -> None:
        """Raises InvalidFiles when there are any."""
        if self.found:
            raise refused(self.found)


def problem(path: str, code: str, message: str, *, line: int | None = None, column: str | None = None) -> Problem:
    """One line of an upload's errors."""
    found: Problem = {
        "path": printable(path)[:MAX_PATH_CHARACTERS],
        "code": code,
        "message": printable(message)[:MAX_MESSAGE_CHARACTERS],
    }
    if line is not None:
        found["line"] = line
    if column is not None:
        found["column"] = printable(column)[:MAX_PATH_CHARACTERS]
    return found


def printable(text: str) -> str:
    """The text with a replacement character for whatever cannot be shown."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def refused(errors: list[Problem]) -> InvalidFiles:
    """The error that lists these."""
    first = errors[0]
    where = ", ".join(
        part
        for part in (
            first["path"],
            f"line {first['line']}" if "line" in first else "",
            f"column {first['column']}" if "column" in first else "",
        )
        if part
    )
    return InvalidFiles(f"{where}: {first['message']}" if where else first["message"], errors=errors[:MAX_ERRORS])
