"""What is counted of tables and texts while they stream by; parts add up to the whole. Pure; memory is bounded.

Distinct values are counted exactly up to `VALUES_TOTAL` of a table, shared by its columns; a column that has more
says "more than". Mean and variance add up as in Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm
for Computing Sample Variances" (1979).
"""

# pyarrow is large: it is imported by the first table, not by every process.
# ruff: noqa: PLC0415

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from backend.datasets.columns import ColumnType, joined

VALUES_TOTAL = 200_000
VALUES_LEAST = 100
TOP = 20
HEAD_ROWS = 20
CELL_CHARACTERS = 200
SAMPLES = 5
SAMPLE_CHARACTERS = 1000
SAMPLED_LABELS = 100

Value = str | bool | int | float
Cell = Value | None


class ColumnTally(msgspec.Struct, kw_only=True):
    """One column so far. `values`: count by value, or None when there are more than are kept."""

    name: str
    type: ColumnType | None
    most: int
    count: int = 0
    missing: int = 0
    values: list[tuple[Value, int]] | None = []
    minimum: Value | None = None
    maximum: Value | None = None
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared differences from the mean."""

    def add(self, array: Any) -> None:  # noqa: ANN401 - a pyarrow.Array of the column's type
        """More of the column."""
        import pyarrow.compute as pc

        present = array.drop_null()
        part = ColumnTally(name=self.name, type=self.type, most=self.most)
        part.missing, part.count = len(array) - len(present), len(present)
        if part.count:
            if self.values is not None:
                part.values = _counted(present, self.most)
            part.minimum, part.maximum = (_bounded(each.as_py()) for each in pc.min_max(present).values())
            if self.type in {"integer", "number"}:
                part.mean = float(pc.mean(present).as_py())
                part.squares = float(pc.variance(present).as_py()) * part.count
        self.merge(part)

    def merge(self, other: "ColumnTally") -> None:
        """Add what another part of the column holds."""
        self.type = joined(self.type, other.type)
        self.missing += other.missing
        if not other.count:
            return
        self.values = _together(self.values, other.values, self.most)
        total = self.count + other.count
        delta = other.mean - self.mean
        self.squares += other.squares + delta * delta * self.count * other.count / total
        self.mean += delta * other.count / total
        if self.count:
            self.minimum = min(self.minimum, other.minimum)  # type: ignore[type-var]  # values of one column compare
            self.maximum = max(self.maximum, other.maximum)  # type: ignore[type-var]  # values of one column compare
        else:
            self.minimum, self.maximum = other.minimum, other.maximum
        self.count = total


def _counted(present: Any, most: int) -> list[tuple[Value, int]] | None:  # noqa: ANN401 - a pyarrow.Array
    import pyarrow.compute as pc

    counts = pc.value_counts(present)
    if len(counts) > most:
        return None
    return [(_bounded(each["values"]), each["counts"]) for each in counts.to_pylist()]


def _together(
    one: list[tuple[Value, int]] | None, other: list[tuple[Value, int]] | None, most: int
) -> list[tuple[Value, int]] | None:
    if one is None or other is None:
        return None
    counts: Counter[Value] = Counter()
    for values in (one, other):
        for value, count in values:
            counts[value] += count
    return list(counts.items()) if len(counts) <= most else None


def _bounded(value: object) -> Value:
    """The value as JSON shows it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool | int | float):
        return value
    return str(value)[:CELL_CHARACTERS]


class TableTally(msgspec.Struct, kw_only=True, tag="tabular", tag_field="kind"):
    """A table so far, and its first rows."""

    columns: list[ColumnTally]
    rows: int = 0
    head: list[list[Cell]] = []

    @classmethod
    def empty(cls, types: Sequence[tuple[str, ColumnType | None]]) -> "TableTally":
        """Of a table with these columns (name, type), before its first row."""
        most = max(VALUES_LEAST, VALUES_TOTAL // len(types))
        return cls(columns=[ColumnTally(name=name, type=kind, most=most) for name, kind in types])

    def add(self, table: Any) -> None:  # noqa: ANN401 - a pyarrow.Table
        """More rows."""
        if len(self.head) < HEAD_ROWS:
            rows = table.slice(0, HEAD_ROWS - len(self.head)).to_pylist()
            self.head += [
                [None if row[each.name] is None else _bounded(row[each.name]) for each in self.columns] for row in rows
            ]
        self.rows += table.num_rows
        for column in self.columns:
            column.add(table.column(column.name).combine_chunks())

    def merge(self, other: "TableTally") -> None:
        """Add another table of the same columns."""
        self.rows += other.rows
        self.head = (self.head + other.head)[:HEAD_ROWS]
        for mine, theirs in zip(self.columns, other.columns, strict=True):
            mine.merge(theirs)


class TextTally(msgspec.Struct, kw_only=True, tag="text", tag_field="kind"):
    """Texts so far. `lengths`: texts by the bits of their length in characters: n counts 2^(n-1) ≤ length < 2^n."""

    rows: int = 0
    labels: dict[str, int] = {}
    lengths: dict[int, int] = {}
    characters: int = 0
    shortest: int | None = None
    longest: int | None = None
    samples: dict[str, list[str]] = {}
    """First texts of a label; "" of what has none."""

    def add(self, table: Any) -> None:  # noqa: ANN401 - a pyarrow.Table
        """More rows: columns text and label."""
        labels = Counter(self.labels)
        lengths = Counter(self.lengths)
        for text, label in zip(table.column("text").to_pylist(), table.column("label").to_pylist(), strict=True):
            name, length = label or "", len(text)
            labels[name] += 1
            lengths[length.bit_length()] += 1
            self.characters += length
            self.shortest = length if self.shortest is None else min(self.shortest, length)
            self.longest = length if self.longest is None else max(self.longest, length)
            self._sample(name, [text])
        self.rows += table.num_rows
        self.labels, self.lengths = dict(labels), dict(lengths)

    def merge(self, other: "TextTally") -> None:
        """Add other texts."""
        self.rows += other.rows
        self.characters += other.characters
        self.labels = dict(Counter(self.labels) + Counter(other.labels))
        self.lengths = dict(Counter(self.lengths) + Counter(other.lengths))
        self.shortest = min((each for each in (self.shortest, other.shortest) if each is not None), default=None)
        self.longest = max((each for each in (self.longest, other.longest) if each is not None), default=None)
        for name, texts in other.samples.items():
            self._sample(name, texts)

    def _sample(self, label: str, texts: Sequence[str]) -> None:
        if label not in self.samples and len(self.samples) >= SAMPLED_LABELS:
            return
        kept = self.samples.setdefault(label, [])
        kept += [text[:SAMPLE_CHARACTERS] for text in texts[: SAMPLES - len(kept)]]


Tally = TableTally | TextTally
TableKind = Literal["tabular", "text"]


def written(tally: Tally) -> bytes:
    """As JSON; the same tally gives the same bytes."""
    return msgspec.json.encode(tally)


def read_tally(data: bytes) -> Tally:
    """What `written` wrote."""
    found: Tally = msgspec.json.decode(data, type=TableTally | TextTally)
    return found
