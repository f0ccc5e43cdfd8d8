"""The manifest is what `wire.Channel` promises, and the same rows give the same bytes."""

import io

import pyarrow.parquet as pq
import pytest

from backend.datasets.manifest import ManifestRow, page_of, read_manifest, write_manifest

pytestmark = pytest.mark.unit

ROWS = [
    ManifestRow(
        path=f"{label}/{n}.png",
        sha256=f"{n:064x}",
        size_bytes=100 + n,
        label=label,
        split="test" if n % 3 == 0 else "train",
        width=28,
        height=28,
    )
    for label in ("seven", "one")
    for n in range(6)
]


def test_columns_and_order() -> None:
    table = pq.read_table(io.BytesIO(write_manifest(ROWS)))
    assert table.column_names == ["path", "sha256", "size_bytes", "label", "split", "width", "height"]
    paths = table.column("path").to_pylist()
    assert paths == sorted(row.path for row in ROWS)


def test_same_rows_same_bytes() -> None:
    assert write_manifest(ROWS) == write_manifest(reversed(ROWS))
    assert write_manifest(ROWS) != write_manifest(ROWS[1:])


def test_pages_cover_a_split_once() -> None:
    table = read_manifest(write_manifest(ROWS))
    pages = [page_of(table, split="test", offset=offset, limit=3) for offset in (0, 3)]
    assert [row for page in pages for row in page] == sorted(
        (row for row in ROWS if row.split == "test"), key=lambda row: row.path
    )
    assert page_of(table, split=None, offset=11, limit=5) == [max(ROWS, key=lambda row: row.path)]
