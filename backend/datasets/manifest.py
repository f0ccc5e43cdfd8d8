"""Manifests: the content of a dataset version as Parquet. Pure; the same rows give the same bytes.

Columns: path, sha256 (lower-case hex), size_bytes (int64), label, split (`train` | `validation` | `test`), width
and height in pixels (int32). Rows are ordered by path, compared by code point.
"""

import io
from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA = pa.schema(
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


class ManifestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a dataset version."""

    path: str
    sha256: str
    size_bytes: int
    label: str
    split: str
    width: int
    height: int


def write_manifest(rows: Iterable[ManifestRow]) -> bytes:
    """The Parquet file of these rows, whatever order they come in."""
    ordered = sorted(rows, key=lambda row: row.path)
    columns = {name: [getattr(row, name) for row in ordered] for name in SCHEMA.names}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink, version="2.6", compression="zstd", row_group_size=100_000)
    return sink.getvalue()


def read_manifest(data: bytes) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """The manifest as a `pyarrow.Table` with the columns of `SCHEMA`."""
    return pq.read_table(io.BytesIO(data), columns=SCHEMA.names)


def page_of(table: Any, *, split: str | None, offset: int, limit: int) -> list[ManifestRow]:  # noqa: ANN401 - a pyarrow.Table
    """Up to `limit` rows from `offset` on, of one split or of all, ordered by path."""
    rows = table if split is None else table.filter(pc.field("split") == split)
    return [ManifestRow(**row) for row in rows.slice(offset, limit).to_pylist()]
