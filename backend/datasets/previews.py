"""Previews: what is in a dataset or a version, in an answer of bounded size.

Of images, the first of every label. Of tables and texts, what was counted while they were read (`tallies`): no file
is opened again.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core.db import Database, Scope
from backend.core.storage import ObjectStore
from backend.datasets.catalog import get_dataset, get_version
from backend.datasets.errors import FileNotInDataset
from backend.datasets.images import PARQUET, content_type
from backend.datasets.preview_schemas import (
    ColumnPreview,
    ImageLabel,
    ImagePreview,
    ImageSample,
    LengthBin,
    Preview,
    TabularPreview,
    TextLabel,
    TextPreview,
    ValueCount,
)
from backend.datasets.repository import DatasetRepository
from backend.datasets.tallies import TOP, ColumnTally, TableTally, Tally, TextTally, read_tally
from backend.datasets.versions import manifest_of

IMAGES_EACH = 8
LABELS = 200
KEPT_TALLIES = 16


def preview_dataset(database: Database, storage: ObjectStore, scope: Scope, dataset_id: UUID) -> Preview:
    """What the dataset holds now, before it is frozen. Raises DatasetNotFound."""
    with database.unit_of_work(scope) as session:
        repository = DatasetRepository(session, scope)
        dataset = get_dataset(session, scope, dataset_id)
        if dataset.kind == "image":
            counts = repository.labels(dataset_id)
            return _images(counts, repository.samples(dataset_id, each=IMAGES_EACH))
        digests = [file["tally_sha256"] for file in repository.attributes(dataset_id)]
    return _tallied(dataset.kind, dataset.target_column, [_tally(storage, scope, each) for each in digests])


def preview_version(database: Database, storage: ObjectStore, scope: Scope, version_id: UUID) -> Preview:
    """What a version holds. Raises DatasetVersionNotFound, ObjectMissing."""
    with database.unit_of_work(scope) as session:
        version = get_version(session, scope, version_id)
    if version.tally_sha256 is not None:
        return _tallied(version.kind, version.target_column, [_tally(storage, scope, version.tally_sha256)])
    counts = {label: sum(splits.values()) for label, splits in sorted(version.classes.items())}
    table = manifest_of(storage, version.organization_id, version.manifest_sha256)
    return _images(counts, _first_of_each(table))


def describe_file(session: Session, scope: Scope, dataset_id: UUID, sha256: str) -> tuple[int, str]:
    """Size and media type of a file of the dataset. Raises DatasetNotFound, FileNotInDataset."""
    get_dataset(session, scope, dataset_id)
    file = DatasetRepository(session, scope).file_by_digest(dataset_id, sha256)
    if file is None:
        raise FileNotInDataset(f"this dataset holds no file {sha256}")
    return file.size_bytes, content_type(file.path) if "rows" not in file.attributes else PARQUET


def _first_of_each(table: Any) -> list[Any]:  # noqa: ANN401 - a pyarrow.Table
    """The first rows of every label of a manifest, by path."""
    import pyarrow as pa  # noqa: PLC0415 - large, and only datasets need it

    places = table.select(["label"]).append_column("place", pa.array(range(table.num_rows), pa.int64()))
    firsts = places.group_by("label", use_threads=False).aggregate([("place", "list")]).to_pylist()
    chosen = sorted(place for each in firsts for place in each["place_list"][:IMAGES_EACH])
    return [_Found(**{name: row[name] for name in _Found.__struct_fields__}) for row in table.take(chosen).to_pylist()]


class _Found(msgspec.Struct):
    label: str
    path: str
    sha256: str
    size_bytes: int
    width: int
    height: int


def _images(counts: dict[str, int], found: Sequence[Any]) -> ImagePreview:
    samples: dict[str, list[ImageSample]] = {}
    for row in found:
        shape = getattr(row, "attributes", None) or {"width": row.width, "height": row.height}
        samples.setdefault(row.label, []).append(
            ImageSample(
                path=row.path,
                sha256=row.sha256,
                size_bytes=row.size_bytes,
                width=shape["width"],
                height=shape["height"],
            )
        )
    labels = [ImageLabel(label=label, count=count, samples=samples.get(label, [])) for label, count in counts.items()]
    return ImagePreview(kind="image", examples=sum(counts.values()), label_count=len(counts), labels=labels[:LABELS])


# --- tables and texts ---


@lru_cache(maxsize=KEPT_TALLIES)
def _kept(storage: ObjectStore, organization_id: UUID, sha256: str) -> bytes:
    return storage.get_blob(organization_id, sha256)


def _tally(storage: ObjectStore, scope: Scope, sha256: str) -> Tally:
    return read_tally(_kept(storage, scope.organization_id, sha256))


def _tallied(kind: str, target: str | None, tallies: Sequence[Tally]) -> Preview:
    """Of one or more files. A dataset without any has an empty preview."""
    if kind == "text":
        texts = TextTally()
        for tally in tallies:
            texts.merge(tally)  # type: ignore[arg-type]  # a text's files have text tallies
        return _texts(texts)
    table = TableTally(columns=[])
    for at, tally in enumerate(tallies):
        assert isinstance(tally, TableTally)  # noqa: S101 - a table's files have table tallies
        if at:
            table.merge(_ordered(tally, table))
        else:
            table = tally
    return _table(table, target)


def _ordered(tally: TableTally, like: TableTally) -> TableTally:
    """The same with the columns in another file's order."""
    places = {column.name: at for at, column in enumerate(tally.columns)}
    order = [places[column.name] for column in like.columns]
    return TableTally(
        columns=[tally.columns[at] for at in order],
        rows=tally.rows,
        head=[[row[at] for at in order] for row in tally.head],
    )


def _table(table: TableTally, target: str | None) -> TabularPreview:
    return TabularPreview(
        kind="tabular",
        examples=table.rows,
        target_column=target,
        columns=[_column(column) for column in table.columns],
        head=table.head,
    )


def _column(column: ColumnTally) -> ColumnPreview:
    numeric = column.type in {"integer", "number"} and column.count > 0
    ranked = sorted(column.values or [], key=lambda each: (-each[1], str(each[0])))
    return ColumnPreview(
        name=column.name,
        type=column.type or "text",
        count=column.count,
        missing=column.missing,
        distinct=None if column.values is None else len(column.values),
        distinct_over=column.most if column.values is None else None,
        minimum=column.minimum,
        maximum=column.maximum,
        mean=column.mean if numeric else None,
        std=math.sqrt(max(0.0, column.squares) / column.count) if numeric else None,
        top=[ValueCount(value=value, count=count) for value, count in ranked[:TOP]],
    )


def _texts(texts: TextTally) -> TextPreview:
    ranked = sorted(texts.labels.items())
    return TextPreview(
        kind="text",
        examples=texts.rows,
        label_count=len([label for label in texts.labels if label]),
        mean_length=texts.characters / texts.rows if texts.rows else None,
        shortest=texts.shortest,
        longest=texts.longest,
        lengths=[
            LengthBin(at_least=1 << (bits - 1) if bits else 0, below=1 << bits, count=count)
            for bits, count in sorted(texts.lengths.items())
        ],
        labels=[
            TextLabel(label=label or None, count=count, samples=texts.samples.get(label, []))
            for label, count in ranked[:LABELS]
        ],
    )
