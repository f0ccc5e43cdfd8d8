"""One reader per kind of dataset behind one interface: a file of an upload becomes files of the dataset. Pure.

    image     every image of a ZIP, or one image      → a file each
    tabular   a CSV file                              → one file: its rows as Parquet, and a tally of them
    text      JSON Lines, CSV, a ZIP, or one text     → the same

A reader raises InvalidFiles for whatever bytes it cannot take, and hands out what is to be stored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any

import msgspec

from backend.core.storage import Received
from backend.datasets.archive import conflicts, content_reader, read_upload
from backend.datasets.columns import ColumnType, joined
from backend.datasets.images import ImageFile
from backend.datasets.problems import refused
from backend.datasets.tables import TableFile, described
from backend.datasets.tabular import TableRules, read_table
from backend.datasets.tallies import TextTally
from backend.datasets.texts import FORMATS, read_texts


class NewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the dataset gets. `attributes`: what its kind notes of it."""

    path: str
    label: str
    sha256: str
    size_bytes: int
    attributes: dict[str, Any]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader must agree with. `digests`: SHA-256 by path; `attributes`: of each file of a table."""

    digests: Mapping[str, str]
    attributes: Sequence[Mapping[str, Any]] = ()
    declared: Mapping[str, ColumnType] = {}
    target: str | None = None


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload holds. `blobs`: sizes by digest; `content` reads one, from several threads at once."""

    files: Sequence[NewFile]
    blobs: Mapping[str, int]
    content: Callable[[str], bytes | Received]


Reader = Callable[[IO[bytes], str, str | None, Known], AbstractContextManager[Incoming]]
"""(file, its name, the label of the only image or text, what is known) → what it holds. Raises InvalidFiles."""


@contextmanager
def _images(file: IO[bytes], file_name: str, label: str | None, known: Known) -> Iterator[Incoming]:
    images = read_upload(file, file_name=file_name, label=label, known=known.digests)
    by_digest = {image.sha256: image for image in images}
    with content_reader(file, images) as read:
        yield Incoming(
            files=[_image(image) for image in images],
            blobs={image.sha256: image.size_bytes for image in images},
            content=lambda sha256: read(by_digest[sha256]),
        )


def _image(image: ImageFile) -> NewFile:
    return NewFile(
        path=image.path,
        label=image.label,
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        attributes={"width": image.width, "height": image.height, "mode": image.mode},
    )


@contextmanager
def _table(file: IO[bytes], file_name: str, label: str | None, known: Known) -> Iterator[Incoming]:
    del label  # a table has a target column
    rules = TableRules(columns=known_columns(known.attributes), declared=known.declared, target=known.target)
    with read_table(file, file_name=file_name, rules=rules) as (table, columns):
        yield _tabled(file_name, table, {"columns": list(columns.items())}, known)


@contextmanager
def _texts(file: IO[bytes], file_name: str, label: str | None, known: Known) -> Iterator[Incoming]:
    labelled = next((bool(each["labelled"]) for each in known.attributes), None)
    with read_texts(file, file_name=file_name, label=label, labelled=labelled) as table:
        assert isinstance(table.tally, TextTally)  # noqa: S101 - what a text's table has
        labels = table.tally.labels
        path = file_name if label is None else f"{label}/{file_name}"
        yield _tabled(path, table, {"labelled": "" not in labels, "labels": labels}, known)


def _tabled(path: str, table: TableFile, attributes: dict[str, Any], known: Known) -> Incoming:
    content = table.finish()
    tally, tally_sha256 = described(table.tally)
    row = NewFile(
        path=path,
        label="",
        sha256=content.sha256(),
        size_bytes=content.size_bytes,
        attributes={"rows": table.tally.rows, "tally_sha256": tally_sha256, **attributes},
    )
    if changed := conflicts([row], known.digests):
        raise refused(changed)
    held: dict[str, bytes | Received] = {row.sha256: content, tally_sha256: tally}
    return Incoming(
        files=[row],
        blobs={row.sha256: row.size_bytes, tally_sha256: len(tally)},
        content=held.__getitem__,
    )


def known_columns(attributes: Sequence[Mapping[str, Any]]) -> dict[str, ColumnType | None]:
    """Columns of a table's files by name, in order, with the type that holds the values of all."""
    found: dict[str, ColumnType | None] = {}
    for each in attributes:
        for name, kind in each["columns"]:
            found[name] = joined(found.get(name), kind)
    return found


READERS: dict[str, Reader] = {"image": _images, "tabular": _table, "text": _texts}
ENDINGS: dict[tuple[str, bool], tuple[str, ...]] = {
    ("image", False): (),
    ("image", True): (),
    ("tabular", False): (".csv", ".csv.gz"),
    ("text", False): FORMATS,
    ("text", True): (".txt",),
}
"""How the name of an upload ends, by kind and whether it has a label; () = its content alone decides."""
