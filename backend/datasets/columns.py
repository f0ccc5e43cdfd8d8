"""Columns of tables: which type their texts have, and the values. Pure; nothing in a file decides what is run.

A column is `integer` (64 bits), `number` (double), `boolean`, `time` (ISO 8601; without a zone it is UTC) or `text`.
The narrowest type that fits every value is taken. Numbers with leading zeros or more than 18 digits are text: they
are codes, and would lose what they say. An empty field is missing; in columns that are no text, so are `MISSING`.
"""

# pyarrow is large: it is imported by the first table, not by every process.
# ruff: noqa: PLC0415

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

ColumnType = Literal["integer", "number", "boolean", "time", "text"]
TYPES: tuple[ColumnType, ...] = ("integer", "number", "boolean", "time", "text")
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
PATTERNS: dict[ColumnType, str] = {
    "integer": r"^[+-]?(0|[1-9][0-9]{0,17})$",
    "number": r"^[+-]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$",
    "boolean": r"^(true|false|True|False|TRUE|FALSE)$",
    "time": (
        r"^[1-8][0-9]{3}-[0-9]{2}-[0-9]{2}"
        r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
    ),
}
EXAMPLES: dict[ColumnType, str] = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "time": "a time like 2026-03-01T12:00:00Z",
    "text": "a text",
}


@lru_cache(maxsize=1)
def arrow_types() -> dict[ColumnType, Any]:
    """The `pyarrow.DataType` of each type."""
    import pyarrow as pa

    return {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "text": pa.string(),
    }


def type_of(texts: Sequence[str]) -> ColumnType | None:
    """The narrowest type of these texts; None when all are missing."""
    import pyarrow.compute as pc

    values = _present(texts)
    if values.null_count == len(values):
        return None
    for kind in TYPES[:-1]:
        matches = pc.match_substring_regex(values, PATTERNS[kind])
        if pc.all(matches).as_py() and not convert(texts, kind)[1]:
            return kind
    return "text"


def joined(one: ColumnType | None, other: ColumnType | None) -> ColumnType | None:
    """The narrowest type that holds the values of both; None = no values yet."""
    if one is None or other is None or one == other:
        return one or other
    return "number" if {one, other} == {"integer", "number"} else "text"


def convert(texts: Sequence[str], kind: ColumnType) -> tuple[Any, list[int]]:
    """(`pyarrow.Array` of the type, positions whose text is none of it). Missing values are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "text":
        array = pa.array(texts, pa.string())
        return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array), []
    values = _present(texts)
    matches = pc.fill_null(pc.match_substring_regex(values, PATTERNS[kind]), True)  # noqa: FBT003 - pyarrow's argument
    bad = [] if pc.all(matches).as_py() else [at for at, fits in enumerate(matches.to_pylist()) if not fits]
    if bad:
        values = pc.if_else(matches, values, pa.scalar(None, pa.string()))
    if kind == "time":
        return _times(values, bad)
    if kind == "boolean":
        values = pc.utf8_lower(values)
    array = pc.cast(pc.replace_substring_regex(values, r"^\+", ""), arrow_types()[kind])
    if kind == "number":
        infinite = pc.fill_null(pc.is_inf(array), False)  # noqa: FBT003 - pyarrow's argument
        if pc.any(infinite).as_py():
            bad = sorted({*bad, *(at for at, is_so in enumerate(infinite.to_pylist()) if is_so)})
    return array, bad


def _present(texts: Sequence[str]) -> Any:  # noqa: ANN401 - a pyarrow.Array
    """The texts, null where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.array(texts, pa.string())
    return pc.if_else(pc.is_in(values, pa.array(MISSING)), pa.scalar(None, pa.string()), values)


def _times(values: Any, bad: list[int]) -> tuple[Any, list[int]]:  # noqa: ANN401 - a pyarrow.Array
    """Moments of texts that look like times. The quick way is for columns in which all have a zone, or none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    target = arrow_types()["time"]
    try:
        return pc.cast(values, target), bad
    except pa.ArrowInvalid:
        pass
    try:
        return pc.cast(pc.cast(values, pa.timestamp("us")), target), bad
    except pa.ArrowInvalid:
        return _times_one_by_one(values, set(bad))


def _times_one_by_one(values: Any, wrong: set[int]) -> tuple[Any, list[int]]:  # noqa: ANN401 - a pyarrow.Array
    import pyarrow as pa

    moments: list[datetime | None] = []
    for at, text in enumerate(values.to_pylist()):
        moment = None
        if text is not None:
            try:
                moment = datetime.fromisoformat(text)
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            except ValueError:  # the 30th of February
                wrong.add(at)
        moments.append(moment)
    return pa.array(moments, arrow_types()["time"]), sorted(wrong)
