"""Reading a table: CSV with a header, UTF-8, plain or gzipped. Pure; hostile input.

Two passes over the file: the first finds the columns' types, the second converts row by row into Parquet. A type that
the dataset declares, or that its first file gave, is not found but asked for: what does not fit is an error with its
line and column.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

import msgspec

from backend.datasets.columns import EXAMPLES, ColumnType, convert, joined, type_of
from backend.datasets.lines import Lines, csv_rows
from backend.datasets.problems import FileError, Problems
from backend.datasets.tables import BATCH_CHARACTERS, BATCH_ROWS, TableFile, table_file

MAX_COLUMNS = 1000
MAX_NAME_CHARACTERS = 128
MAX_ROWS = 10_000_000
MAX_CELLS = 200_000_000
SHOWN = 60


class TableRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a file must agree with. `columns`: of the dataset's files, in order; empty = this is the first."""

    columns: Mapping[str, ColumnType | None] = {}
    declared: Mapping[str, ColumnType] = {}
    target: str | None = None


Batch = tuple[list[int], list[list[str]]]
"""Lines on which rows begin, and their fields."""


@contextmanager
def read_table(
    file: IO[bytes], *, file_name: str, rules: TableRules
) -> Iterator[tuple[TableFile, dict[str, ColumnType | None]]]:
    """The rows of a CSV file as Parquet, and its columns' types: None of a column that holds no value.

    Raises InvalidFiles with errors by line.
    """
    problems = Problems(file_name)
    found = _first_pass(file, file_name, rules, problems)
    names, types = list(found), {name: kind or "text" for name, kind in found.items()}
    with table_file("tabular", list(types.items())) as table:
        try:
            for lines, rows in _batched(file, file_name, names, problems):
                arrays = [
                    _converted(lines, texts, name, types[name], rules, problems)
                    for name, texts in zip(names, zip(*rows, strict=True), strict=True)
                ]
                problems.check()
                table.write(arrays)
        except FileError as error:
            problems.add(error.code, str(error))
        problems.check()
        yield table, found


def _first_pass(file: IO[bytes], file_name: str, rules: TableRules, problems: Problems) -> dict[str, ColumnType | None]:
    """Header and types. Raises InvalidFiles: rows that cannot be read, columns that do not agree."""
    names: list[str] = []
    seen: dict[str, ColumnType | None] = {}
    rows = 0
    try:
        names = _header(file, file_name, rules, problems)
        problems.check()
        asked = {name: _asked_type(name, rules) for name in names}
        seen = dict.fromkeys(names)
        for _, batch in _batched(file, file_name, names, problems):
            rows += len(batch)
            for at, name in enumerate(names):
                if asked[name] is None and seen[name] != "text":
                    seen[name] = joined(seen[name], type_of([row[at] for row in batch]))
        seen = {name: asked[name] or _among_numbers(name, seen[name], rules) for name in names}
    except FileError as error:
        problems.add(error.code, str(error))
    if not rows and not problems.found:
        problems.add("no_rows", "the table has a header and no rows")
    problems.check()
    return seen


def _asked_type(name: str, rules: TableRules) -> ColumnType | None:
    """What is declared, or what the dataset's files have; None = it is to be found."""
    known = rules.declared.get(name, rules.columns.get(name))
    return None if known == "integer" and name not in rules.declared else known


def _among_numbers(name: str, found: ColumnType | None, rules: TableRules) -> ColumnType | None:
    """A column of integers in the dataset's files may hold numbers in this one, and nothing else."""
    if rules.columns.get(name) != "integer" or found in {None, "integer", "number"}:
        return found
    return "number"


def _header(file: IO[bytes], file_name: str, rules: TableRules, problems: Problems) -> list[str]:
    _, names = next(csv_rows(_lines(file, file_name, problems), problems), (1, []))
    names = [name.strip() for name in names]
    if not names:
        problems.add("no_header", "the file has no header", line=1)
    if len(names) > MAX_COLUMNS:
        problems.add("too_many_columns", f"{len(names)} columns; at most {MAX_COLUMNS} are taken", line=1)
        return names
    for at, name in enumerate(names, 1):
        if not name or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
            message = f"column {at} needs a name of up to {MAX_NAME_CHARACTERS} printable characters"
            problems.add("column_name", message, line=1, column=name or str(at))
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add("duplicate_column", "two columns have this name", line=1, column=name)
    wanted = [*rules.columns] or [*rules.declared, *([rules.target] if rules.target else [])]
    for name in wanted:
        if name not in names:
            problems.add("column_missing", "the dataset has this column, the file has not", line=1, column=name)
    for name in names if rules.columns else []:
        if name not in rules.columns:
            problems.add("column_unknown", "the dataset's other files have no such column", line=1, column=name)
    return names


def _lines(file: IO[bytes], file_name: str, problems: Problems) -> Lines:
    return Lines(file, gzipped=file_name.lower().endswith(".gz"), problems=problems)


def _batched(file: IO[bytes], file_name: str, names: Sequence[str], problems: Problems) -> Iterator[Batch]:
    """Rows of the right length, some thousands at a time. Raises FileError at a bound."""
    rows = csv_rows(_lines(file, file_name, problems), problems)
    next(rows, None)
    lines: list[int] = []
    batch: list[list[str]] = []
    size = total = 0
    for line, row in rows:
        if len(row) != len(names):
            problems.add("wrong_field_count", f"{len(row)} fields; the header has {len(names)}", line=line)
            continue
        lines.append(line)
        batch.append(row)
        total += 1
        size += sum(map(len, row))
        if total > MAX_ROWS or total * len(names) > MAX_CELLS:
            raise FileError("too_many_rows", f"at most {min(MAX_ROWS, MAX_CELLS // len(names))} such rows are taken")
        if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield lines, batch
            lines, batch, size = [], [], 0
    if batch:
        yield lines, batch


def _converted(
    lines: Sequence[int], texts: Sequence[str], name: str, kind: ColumnType, rules: TableRules, problems: Problems
) -> object:
    array, bad = convert(texts, kind)
    for at in bad:
        text = texts[at] if len(texts[at]) <= SHOWN else f"{texts[at][:SHOWN]}…"
        problems.add("wrong_type", f"'{text}' is not {EXAMPLES[kind]}", line=lines[at], column=name)
        if problems.full:
            break
    if name == rules.target and array.null_count:
        for at, is_missing in enumerate(array.is_null().to_pylist()):
            if is_missing and at not in bad:
                problems.add("target_missing", "the target has no value", line=lines[at], column=name)
            if problems.full:
                break
    return array
