"""Manifests: the content of a dataset version as Parquet. Pure; the same rows give the same bytes.

Columns: path, sha256 (lower-case hex), size_bytes (int64), label, split (`train` | `validation` | `test`), width
and height in pixels (int32). Rows are ordered by path, compared by code point.
"""

# pyarrow brings numpy along, 20 MB and 0.1 s: it is imported by the first manifest, not by every process.
# ruff: noqa: PLC0415

import io
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec


class ManifestRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One file of a dataset version."""

    path: str
    sha256: str
    size_bytes: int
    label: str
    split: str
    width: int
    height: int


@lru_cache(maxsize=1)
def schema() -> Any:  # noqa: ANN401 - pyarrow ships no types
    """The columns, as a `pyarrow.Schema`."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
        ]
    )


def write_manifest(rows: Iterable[ManifestRow]) -> bytes:
    """The Parquet file of these rows, whatever order they come in."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.path)
    columns = {name: [getattr(row, name) for row in ordered] for name in schema().names}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema()), sink, version="2.6", compression="zstd", row_group_size=100_000)
    return sink.getvalue()


def read_manifest(data: bytes) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """The manifest as a `pyarrow.Table` with the columns of `schema()`."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(data), columns=schema().names)


def page_of(
    table: Any,  # noqa: ANN401 - a pyarrow.Table
    *,
    split: str | None,
    label: str | None = None,
    offset: int,
    limit: int,
) -> list[ManifestRow]:
    """Up to `limit` rows from `offset` on, of one split or label or of all, ordered by path."""
    import pyarrow.compute as pc

    for column, wanted in (("split", split), ("label", label)):
        if wanted is not None:
            table = table.filter(pc.field(column) == wanted)
    return [ManifestRow(**row) for row in table.slice(offset, limit).to_pylist()]


def position_of(table: Any, sha256: str) -> int:  # noqa: ANN401 - a pyarrow.Table
    """The first row of this content; -1 = there is none."""
    import pyarrow.compute as pc

    position: int = pc.index(table.column("sha256"), sha256).as_py()
    return position
