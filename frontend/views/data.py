"""View models of datasets, uploads, versions and files, and what each kind of dataset takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from backend.datasets.catalog import BUILT_KINDS
from backend.datasets.comparison import ChangedFile
from backend.datasets.manifest import ManifestRow
from backend.datasets.models import Dataset, DatasetFile, DatasetImport, DatasetVersion, Upload
from backend.datasets.overview import DatasetTotals
from backend.datasets.split import SPLITS


@dataclass(frozen=True, kw_only=True)
class DataKind:
    """How a kind of dataset is filled. Its words and its preview stand in `templates/data/*_<name>.html`."""

    name: str
    endings: Sequence[str]
    """Of files that can be chosen for an upload, with their dot."""
    labelled: Sequence[str] = ()
    """Of those, the endings of single files, which need a label."""


KINDS = {
    "image": DataKind(name="image", endings=(".zip", ".png", ".jpg", ".jpeg"), labelled=(".png", ".jpg", ".jpeg")),
    "tabular": DataKind(name="tabular", endings=(".csv", ".csv.gz")),
    "text": DataKind(
        name="text",
        endings=(".jsonl", ".ndjson", ".csv", ".jsonl.gz", ".ndjson.gz", ".csv.gz", ".zip", ".txt"),
        labelled=(".txt",),
    ),
}
"""Kinds with pages of their own; `available` are those that the platform takes too."""


def available() -> list[str]:
    """Kinds that a new dataset can have."""
    return [name for name in KINDS if name in BUILT_KINDS]


def kind_of(name: str) -> DataKind:
    """What a kind takes; archives alone where it has no page of its own."""
    return KINDS.get(name, DataKind(name=name, endings=(".zip",)))


@dataclass(frozen=True, kw_only=True)
class VersionView:
    """A version. `classes`: files per label and split."""

    id: str
    dataset_id: str
    number: int
    file_count: int
    size_bytes: int
    splits: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    seed: int
    manifest_sha256: str
    tags: Mapping[str, str]
    created_at: datetime

    @classmethod
    def of(cls, version: DatasetVersion) -> Self:
        """From the row."""
        return cls(
            id=str(version.id),
            dataset_id=str(version.dataset_id),
            number=version.number,
            file_count=version.file_count,
            size_bytes=version.size_bytes,
            splits={split: int(version.splits.get(split, 0)) for split in SPLITS},
            classes=version.classes,
            seed=version.split_seed,
            manifest_sha256=version.manifest_sha256,
            tags=version.tags,
            created_at=version.created_at,
        )


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """A dataset, as the list shows it and its own page begins."""

    id: str
    name: str
    kind: str
    description: str
    project_id: str
    project_name: str
    tags: Mapping[str, str]
    file_count: int | None
    """None where a page does not ask: counting 100,000 files takes its time."""
    target_column: str | None
    newest: VersionView | None
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset, *, project_name: str, file_count: int | None, newest: DatasetVersion | None) -> Self:
        """From the row and what is known beside it."""
        return cls(
            id=str(dataset.id),
            name=dataset.name,
            kind=dataset.kind,
            description=dataset.description,
            project_id=str(dataset.project_id),
            project_name=project_name,
            tags=dataset.tags,
            target_column=dataset.target_column,
            file_count=file_count,
            newest=VersionView.of(newest) if newest else None,
            created_at=dataset.created_at,
        )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a dataset holds: files or texts per label, the most numerous first."""

    file_count: int
    size_bytes: int
    example_count: int
    labels: Sequence[tuple[str, int]]

    @classmethod
    def of(cls, totals: DatasetTotals) -> Self:
        """From the counts."""
        labels = sorted(((one.label, one.file_count) for one in totals.labels), key=lambda one: (-one[1], one[0]))
        return cls(
            file_count=totals.file_count,
            size_bytes=totals.size_bytes,
            example_count=totals.example_count,
            labels=labels,
        )


@dataclass(frozen=True, kw_only=True)
class UploadView:
    """An upload. `stored`: parts that have arrived, None where that is over."""

    id: str
    file_name: str
    size_bytes: int
    status: str
    reason: str
    label: str | None
    file_count: int
    errors: Sequence[Mapping[str, str]]
    part_count: int
    stored: int | None
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, upload: Upload, stored: int | None = None) -> Self:
        """From the row."""
        return cls(
            id=str(upload.id),
            file_name=upload.file_name,
            size_bytes=upload.size_bytes,
            status=upload.status,
            reason=upload.status_reason,
            label=upload.label,
            file_count=upload.file_count,
            errors=upload.errors,
            part_count=upload.part_count,
            stored=stored,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
        )


@dataclass(frozen=True, kw_only=True)
class ImportView:
    """A file that the platform fetches."""

    id: str
    source: str
    file_name: str
    label: str | None
    status: str
    reason: str
    errors: Sequence[Mapping[str, str]]
    received_bytes: int
    size_bytes: int | None
    ended: bool
    created_at: datetime

    @classmethod
    def of(cls, row: DatasetImport) -> Self:
        """From the row."""
        return cls(
            id=str(row.id),
            source=row.source,
            file_name=row.file_name,
            label=row.label,
            status=row.status,
            reason=row.status_reason,
            errors=row.errors,
            received_bytes=row.received_bytes,
            size_bytes=row.size_bytes,
            ended=row.ended_at is not None,
            created_at=row.created_at,
        )


@dataclass(frozen=True, kw_only=True)
class FileView:
    """A file with the address of its content. `split` and `was_*` are "" where there is nothing to say."""

    address: str
    path: str
    label: str
    size_bytes: int
    width: int
    height: int
    split: str = ""
    was_label: str = ""
    was_split: str = ""

    @classmethod
    def in_dataset(cls, file: DatasetFile) -> Self:
        """A file that may be frozen or not."""
        attributes = file.attributes
        return cls(
            address=f"/data/{file.dataset_id}/files/{file.id}",
            path=file.path,
            label=file.label,
            size_bytes=file.size_bytes,
            width=int(attributes.get("width", 0)),
            height=int(attributes.get("height", 0)),
        )

    @classmethod
    def in_version(cls, version_id: str, row: ManifestRow) -> Self:
        """A file of a version."""
        return cls(
            address=f"/data/versions/{version_id}/files/{row.sha256}",
            path=row.path,
            label=row.label,
            size_bytes=row.size_bytes,
            width=row.width,
            height=row.height,
            split=row.split,
        )

    @classmethod
    def changed(cls, version_id: str, row: ChangedFile) -> Self:
        """A file that differs between two versions; `version_id`: one that holds it."""
        return cls(
            address=f"/data/versions/{version_id}/files/{row.sha256}",
            path=row.path,
            label=row.label,
            size_bytes=row.size_bytes,
            width=row.width,
            height=row.height,
            split=row.split,
            was_label=row.was_label if row.was_label != row.label else "",
            was_split=row.was_split if row.was_split != row.split else "",
        )


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """Files of a label in the older and in the newer of two versions."""

    label: str
    before: int
    after: int

    @property
    def difference(self) -> int:
        """How many more there are now."""
        return self.after - self.before


def class_changes(older: VersionView, newer: VersionView) -> list[ClassChange]:
    """Files per label of two versions, the largest changes first."""
    labels = sorted(set(older.classes) | set(newer.classes))
    every = [
        ClassChange(
            label=label,
            before=sum(older.classes.get(label, {}).values()),
            after=sum(newer.classes.get(label, {}).values()),
        )
        for label in labels
    ]
    return sorted(every, key=lambda one: (-abs(one.difference), one.label))
