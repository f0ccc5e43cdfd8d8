"""Tables as Parquet: the rows of an upload, and what is counted of them. The same rows give the same bytes.

Columns have the types of `columns`; a text's table has the columns `text` and `label`. Written in one thread, row
group by row group, into a spool that is hashed as it goes.
"""

# pyarrow is large: it is imported by the first table, not by every process.
# ruff: noqa: PLC0415

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Self

from backend.core.storage import Received
from backend.datasets.columns import ColumnType, arrow_types
from backend.datasets.tallies import TableTally, Tally, TextTally, written

BATCH_ROWS = 20_000
BATCH_CHARACTERS = 16 * 1024 * 1024
TEXT_COLUMNS: tuple[tuple[str, ColumnType], ...] = (("text", "text"), ("label", "text"))

Columns = Sequence[tuple[str, ColumnType]]
"""Names and types, in order."""


class TableFile:
    """A Parquet file that is being written, and its tally. A context manager; gone when it ends."""

    def __init__(self, columns: Columns, tally: Tally) -> None:
        import pyarrow.parquet as pq

        self.content = Received()
        self.tally = tally
        self.schema = arrow_schema(columns)
        self._writer = pq.ParquetWriter(_Sink(self.content), self.schema, version="2.6", compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._writer.close()
        self.content.__exit__()

    def write(self, arrays: Sequence[Any]) -> None:
        """More rows: one `pyarrow.Array` per column."""
        import pyarrow as pa

        self.write_table(pa.Table.from_arrays(list(arrays), schema=self.schema))

    def write_table(self, table: Any) -> None:  # noqa: ANN401 - a pyarrow.Table of the schema
        """More rows as one row group."""
        if table.num_rows:
            self.tally.add(table)
            self._writer.write_table(table)

    def finish(self) -> Received:
        """Close the file; its content. Nothing can be written any more."""
        self._writer.close()
        return self.content


class _Sink:
    """What `pyarrow` writes to: a file that only grows."""

    def __init__(self, content: Received) -> None:
        self._content = content
        self.closed = False

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        chunk = bytes(data)
        self._content.write(chunk)
        return len(chunk)

    def tell(self) -> int:
        return self._content.size_bytes

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def arrow_schema(columns: Columns) -> Any:  # noqa: ANN401 - a pyarrow.Schema
    """The `pyarrow.Schema` of these columns."""
    import pyarrow as pa

    return pa.schema([pa.field(name, arrow_types()[kind]) for name, kind in columns])


def new_tally(kind: str, columns: Columns) -> Tally:
    """Of a table of this kind, before its first row."""
    return TextTally() if kind == "text" else TableTally.empty(columns)


def described(tally: Tally) -> tuple[bytes, str]:
    """A tally as JSON, and its SHA-256."""
    data = written(tally)
    return data, hashlib.sha256(data).hexdigest()


def batches(file: IO[bytes], columns: Columns, *, only: Sequence[str] | None = None) -> Iterator[Any]:
    """The rows of a table's file as `pyarrow.Table`s in the types of `columns` (or of those named in `only`).

    A column without any value may have been written as another type: it is null throughout.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [(name, kind) for name, kind in columns if only is None or name in only]
    schema = arrow_schema(wanted)
    source = pq.ParquetFile(file)
    for batch in source.iter_batches(batch_size=BATCH_ROWS, columns=schema.names, use_threads=False):
        arrays = [
            pa.nulls(batch.num_rows, field.type)
            if batch.column(field.name).null_count == batch.num_rows
            else batch.column(field.name).cast(field.type)
            for field in schema
        ]
        yield pa.Table.from_arrays(arrays, schema=schema)


@contextmanager
def table_file(kind: str, columns: Columns) -> Iterator[TableFile]:
    """A new table's file of this kind."""
    with TableFile(columns, new_tally(kind, columns)) as file:
        yield file
