"""Reading texts: JSON Lines, CSV with `text` and `label`, a ZIP of `label/name.txt`, or one text. Pure; hostile input.

Either every text of a file has a label or none has. All become one table with the columns `text` and `label`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import msgspec

from backend.datasets.archive import opened, whole
from backend.datasets.lines import MAX_CELL_CHARACTERS, Lines, csv_rows
from backend.datasets.problems import FileError, Problems
from backend.datasets.tables import BATCH_CHARACTERS, BATCH_ROWS, TEXT_COLUMNS, TableFile, table_file

MAX_TEXTS = 10_000_000
MAX_LABELS = 1000
MAX_LABEL_CHARACTERS = 128
FORMATS = (".jsonl", ".ndjson", ".csv", ".jsonl.gz", ".ndjson.gz", ".csv.gz", ".zip")


class _Line(msgspec.Struct):
    """One line of JSON Lines; other fields are passed over."""

    text: str
    label: str | int | bool | None = None


class Text(msgspec.Struct, frozen=True):
    """One text as it was found. `line` counts from 1; of a file in an archive it is None and `path` says which."""

    text: str
    label: str | None
    line: int | None = None
    path: str | None = None


@contextmanager
def read_texts(file: IO[bytes], *, file_name: str, label: str | None, labelled: bool | None) -> Iterator[TableFile]:
    """The texts of a file as Parquet. `label`: of the only text, or None.

    `labelled`: whether the dataset's texts have labels; None = this is the first file. Raises InvalidFiles.
    """
    problems = Problems(file_name)
    checks = _Checks(problems, labelled)
    with table_file("text", TEXT_COLUMNS) as table:
        batch: list[Text] = []
        size = total = 0
        try:
            for one in _texts(file, file_name, label, problems):
                total += 1
                checks.look_at(one)
                batch.append(one)
                size += len(one.text)
                if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                    _write(table, batch)
                    batch, size = [], 0
                if total > MAX_TEXTS:
                    raise FileError("too_many_rows", f"at most {MAX_TEXTS} texts are taken")  # noqa: TRY301 - a bound like those of the reader
        except FileError as error:
            problems.add(error.code, str(error))
        if not total and not problems.found:
            problems.add("no_rows", "the file holds no texts")
        problems.check()
        _write(table, batch)
        yield table


class _Checks:
    """What holds of every text, and of all of them together."""

    def __init__(self, problems: Problems, labelled: bool | None) -> None:  # noqa: FBT001 - three answers
        self._problems = problems
        self._labelled = labelled
        self._labels: set[str] = set()

    def look_at(self, one: Text) -> None:
        """Note what is wrong with it."""
        if not one.text.strip():
            self._add(one, "empty_text", "the text is empty")
        if len(one.text) > MAX_CELL_CHARACTERS:
            self._add(one, "text_too_long", f"at most {MAX_CELL_CHARACTERS} characters are taken")
        if "\x00" in one.text:
            self._add(one, "nul_character", "the text holds a NUL character")
        if self._labelled is None:
            self._labelled = one.label is not None
        if self._labelled != (one.label is not None):
            there = "this one has none" if self._labelled else "the ones before have none"
            self._add(one, "label_missing", f"either every text has a label or none: {there}")
        if one.label is not None and one.label not in self._labels:
            self._look_at_label(one, one.label)

    def _look_at_label(self, one: Text, label: str) -> None:
        if not label.strip() or not label.isprintable() or len(label) > MAX_LABEL_CHARACTERS:
            self._add(one, "label_invalid", f"a label has up to {MAX_LABEL_CHARACTERS} printable characters")
        elif len(self._labels) >= MAX_LABELS:
            raise FileError("too_many_labels", f"at most {MAX_LABELS} labels are taken")
        self._labels.add(label)

    def _add(self, one: Text, code: str, message: str) -> None:
        where = f"{one.path}: " if one.path else ""
        self._problems.add(code, where + message, line=one.line)


def _write(table: TableFile, batch: list[Text]) -> None:
    import pyarrow as pa  # noqa: PLC0415 - large, and only tables need it

    table.write([
        pa.array([one.text for one in batch], pa.string()),
        pa.array([one.label for one in batch], pa.string()),
    ])  # fmt: skip


def _texts(file: IO[bytes], file_name: str, label: str | None, problems: Problems) -> Iterator[Text]:
    name = file_name.lower()
    if label is not None:
        yield Text(_decoded(whole(file)), label)
    elif name.endswith((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")):
        yield from _json_lines(Lines(file, gzipped=name.endswith(".gz"), problems=problems), problems)
    elif name.endswith((".csv", ".csv.gz")):
        yield from _csv(Lines(file, gzipped=name.endswith(".gz"), problems=problems), problems)
    elif name.endswith(".zip"):
        yield from _members(file, file_name, problems)
    else:
        raise FileError("unsupported_type", f"only {', '.join(FORMATS)} files are taken, or one text with its label")


def _json_lines(lines: Lines, problems: Problems) -> Iterator[Text]:
    decoder = msgspec.json.Decoder(_Line)
    for line in lines:
        lines.row_ended()
        if problems.full:
            return
        if not line.strip():
            continue
        try:
            found = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            problems.add("not_json", f"the line is no object with a text: {error}", line=lines.number)
            continue
        yield Text(found.text, _label_text(found.label), line=lines.number)


def _label_text(label: str | int | bool | None) -> str | None:  # noqa: FBT001 - a label as JSON has it
    if isinstance(label, bool):
        return "true" if label else "false"
    return None if label is None else str(label)


def _csv(lines: Lines, problems: Problems) -> Iterator[Text]:
    rows = csv_rows(lines, problems)
    _, header = next(rows, (1, []))
    names = [name.strip().lower() for name in header]
    if sorted(names) not in (["text"], ["label", "text"]):
        raise FileError("wrong_columns", "the header has the columns text and label, or text alone")
    at_text = names.index("text")
    at_label = names.index("label") if "label" in names else None
    for line, row in rows:
        if len(row) != len(names):
            problems.add("wrong_field_count", f"{len(row)} fields; the header has {len(names)}", line=line)
            continue
        yield Text(row[at_text], (row[at_label] or None) if at_label is not None else None, line=line)


def _members(file: IO[bytes], file_name: str, problems: Problems) -> Iterator[Text]:
    with opened(file, file_name=file_name, layout="label/name.txt") as sources:
        for path, (_, read) in sources.items():
            if problems.full:
                return
            try:
                if not path.lower().endswith(".txt"):
                    raise FileError("unsupported_type", "only .txt files are taken")  # noqa: TRY301 - like those of `read`
                yield Text(_decoded(read()), path.partition("/")[0], path=path)
            except FileError as error:
                problems.add(error.code, f"{path}: {error}")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError("not_utf8", f"byte {error.start + 1} is no UTF-8") from error
