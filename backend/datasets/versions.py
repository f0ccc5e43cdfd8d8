"""Use cases of dataset versions: freeze, read, page through files, fetch one.

Freezing loads the files, splits and writes the manifest with no session open, then numbers the version under the
dataset's row lock. What another upload adds meanwhile belongs to the next version.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.db import Database, Scope
from backend.core.pagination import InvalidCursor, PageRequest
from backend.core.storage import ObjectStore
from backend.datasets.catalog import dataset_not_found, get_dataset, get_version
from backend.datasets.comparison import Comparison, compare
from backend.datasets.errors import FileNotInVersion, SingleClass, TooFewFiles
from backend.datasets.freezing import (
    assign_rows,
    count_classes,
    count_strata,
    fetched,
    source_of,
    strata_of,
    write_splits,
)
from backend.datasets.images import content_type
from backend.datasets.manifest import ManifestRow, page_of, position_of, read_manifest, write_manifest
from backend.datasets.models import Dataset, DatasetVersion
from backend.datasets.repository import DatasetRepository
from backend.datasets.schemas import VersionCreate
from backend.datasets.split import SPLITS, assign_splits, split_sizes

KIND = "dataset_version"


def create_version(
    database: Database, storage: ObjectStore, principal: Principal, dataset_id: UUID, wanted: VersionCreate
) -> DatasetVersion:
    """Freeze the dataset's files. Raises DatasetNotFound, SingleClass, SplitInvalid, TargetInvalid, TooFewFiles."""
    scope = principal.scope
    with database.unit_of_work(scope) as session:
        images = get_dataset(session, scope, dataset_id).kind == "image"
        repository = DatasetRepository(session, scope)
        # In this order: a dataset that is there afterwards was there with all of these files.
        files = repository.images(dataset_id) if images else repository.files(dataset_id)
        dataset = get_dataset(session, scope, dataset_id)
    version = DatasetVersion(
        organization_id=principal.organization_id,
        dataset_id=dataset_id,
        kind=dataset.kind,
        split_seed=wanted.seed,
        tags=dict(wanted.tags),
        created_by=principal.actor,
        target_column=dataset.target_column,
    )
    if images:
        rows = _split_files(files, wanted)
        _describe(version, rows)
        blobs: dict[str, int] = {}
    else:
        rows, blobs = _split_rows(storage, version, files, wanted)
    manifest = write_manifest(rows)
    sha256 = hashlib.sha256(manifest).hexdigest()
    storage.put_blob(scope.organization_id, sha256, [manifest])
    version.manifest_sha256, version.manifest_bytes = sha256, len(manifest)
    version.file_count, version.size_bytes = len(rows), sum(row.size_bytes for row in rows)
    with database.unit_of_work(scope) as session:
        _record(session, principal, version, blobs | {sha256: len(manifest)})
    return version


def _split_rows(
    storage: ObjectStore, version: DatasetVersion, files: Sequence[Any], wanted: VersionCreate
) -> tuple[list[ManifestRow], dict[str, int]]:
    """Rows of a table, or texts: stored split by split. Returns the manifest's rows, and sizes by digest."""
    source = source_of(version.kind, files, version.target_column)
    with fetched(storage, version.organization_id, source.blobs) as sources:
        strata = strata_of(source, sources)
        sizes = sizes_of(count_strata(strata), wanted)
        splits = assign_rows(strata, sizes, seed=wanted.seed, stratify=wanted.stratify)
        version.classes = count_classes(strata, splits)
        require_training(version.classes, {label for label, counts in version.classes.items() if counts["train"]})
        version.splits = sizes
        rows, version.tally_sha256, blobs = write_splits(storage, version.organization_id, source, sources, splits)
    return rows, blobs


def _split_files(files: Sequence[Any], wanted: VersionCreate) -> list[ManifestRow]:
    labels = {file.path: file.label for file in files}
    counts = Counter(labels.values())
    sizes = sizes_of(counts, wanted)
    splits = assign_splits(labels, sizes, seed=wanted.seed, stratify=wanted.stratify)
    require_training(counts, {labels[path] for path, split in splits.items() if split == "train"})
    return [
        ManifestRow(
            path=file.path,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            label=file.label,
            split=splits[file.path],
            width=file.width,
            height=file.height,
        )
        for file in files
        if file.path in splits
    ]


def sizes_of(counts: Mapping[str, int], wanted: VersionCreate) -> dict[str, int]:
    """Examples per split, from examples per label; "" = they have none.

    Raises TooFewFiles, SingleClass, SplitInvalid.
    """
    if not counts:
        raise TooFewFiles("the dataset holds no files", hint="upload something first", files=0)
    if len(counts) == 1 and "" not in counts:
        raise SingleClass(f"everything has the label '{next(iter(counts))}'; a classifier needs at least two labels")
    return split_sizes(sum(counts.values()), {str(split): size for split, size in wanted.splits.items()})


def require_training(labels: Iterable[str], trained: Collection[str]) -> None:
    """Raise TooFewFiles where a label has nothing in train."""
    untrained = sorted(set(labels) - set(trained))
    if untrained:
        raise TooFewFiles(f"train would hold nothing of the label '{untrained[0]}'", labels=untrained[:100])


def _describe(version: DatasetVersion, rows: Sequence[ManifestRow]) -> None:
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        classes[row.label][row.split] += 1
    version.classes = {label: {split: classes[label][split] for split in SPLITS} for label in sorted(classes)}
    version.splits = {split: sum(counts[split] for counts in classes.values()) for split in SPLITS}


def _record(session: Session, principal: Principal, version: DatasetVersion, blobs: dict[str, int]) -> None:
    repository = DatasetRepository(session, principal.scope)
    if repository.dataset(version.dataset_id, lock=True) is None:
        raise dataset_not_found(version.dataset_id)
    version.number = repository.next_number(version.dataset_id)
    repository.add_blobs(blobs)
    repository.add(version)
    _audit(session, principal, "dataset_version.create", version, {"manifest_sha256": version.manifest_sha256})


def list_versions(
    session: Session, scope: Scope, dataset_id: UUID, page: PageRequest
) -> tuple[list[DatasetVersion], str | None]:
    """One page of a dataset's versions, newest first, and the next page's cursor. Raises DatasetNotFound."""
    get_dataset(session, scope, dataset_id)
    return DatasetRepository(session, scope).versions(page, dataset_id=dataset_id)


def versions_to_choose(
    session: Session, scope: Scope, *, project_id: UUID | None = None, kind: str | None = None, limit: int = 200
) -> list[tuple[DatasetVersion, Dataset]]:
    """Versions to choose from, of all datasets together, each with its dataset; newest first."""
    return DatasetRepository(session, scope).versions_to_choose(project_id=project_id, kind=kind, limit=limit)


def tag_version(session: Session, principal: Principal, version_id: UUID, tags: dict[str, str]) -> DatasetVersion:
    """Replace the tags. Raises DatasetVersionNotFound."""
    version = get_version(session, principal.scope, version_id)
    version.tags = dict(tags)
    _audit(session, principal, "dataset_version.update", version, {"changed": ["tags"]})
    return version


def list_files(
    storage: ObjectStore, version: DatasetVersion, page: PageRequest, *, split: str | None, label: str | None = None
) -> tuple[list[ManifestRow], str | None]:
    """One page of a version's files, of one split or label or of all, by path, and the next page's cursor.

    Raises InvalidCursor.
    """
    # A version never changes, so a position in it is a cursor that stays true.
    if page.cursor is not None and not (page.cursor.isascii() and page.cursor.isdigit()):
        raise InvalidCursor("this cursor was not handed out by this list", hint="start again without one")
    offset = min(int(page.cursor or 0), version.file_count)
    table = manifest_of(storage, version.organization_id, version.manifest_sha256)
    rows = page_of(table, split=split, label=label, offset=offset, limit=page.limit + 1)
    if len(rows) <= page.limit:
        return rows, None
    return rows[: page.limit], str(offset + page.limit)


def compare_versions(storage: ObjectStore, older: DatasetVersion, newer: DatasetVersion) -> Comparison:
    """What became of the files of `older` in `newer`, two versions of one organization. Raises ObjectMissing."""
    return _compared(storage, older.organization_id, older.manifest_sha256, newer.manifest_sha256)


@lru_cache(maxsize=4)
def _compared(storage: ObjectStore, organization_id: UUID, older: str, newer: str) -> Comparison:
    return compare(manifest_of(storage, organization_id, older), manifest_of(storage, organization_id, newer))


def find_in_version(storage: ObjectStore, version: DatasetVersion, sha256: str) -> ManifestRow:
    """The first file of the version with this content. Raises FileNotInVersion."""
    table = manifest_of(storage, version.organization_id, version.manifest_sha256)
    position = position_of(table, sha256)
    if position < 0:
        raise FileNotInVersion(f"this version holds no file {sha256}")
    return page_of(table, split=None, offset=position, limit=1)[0]


def open_file(storage: ObjectStore, version: DatasetVersion, sha256: str) -> tuple[Iterator[bytes], int, str]:
    """Content, size and media type of one file of the version. Raises FileNotInVersion."""
    row = find_in_version(storage, version, sha256)
    return storage.stream_blob(version.organization_id, sha256), row.size_bytes, content_type(row.path)


@lru_cache(maxsize=8)
def manifest_of(storage: ObjectStore, organization_id: UUID, sha256: str) -> Any:  # noqa: ANN401 - a pyarrow.Table
    """The manifest of this digest as a `pyarrow.Table`; the last few stay in memory. Raises ObjectMissing."""
    return read_manifest(storage.get_blob(organization_id, sha256))


def _audit(
    session: Session, principal: Principal, action: str, version: DatasetVersion, detail: dict[str, Any]
) -> None:
    audit.record(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind=KIND,
        resource_id=version.id,
        detail={"dataset_id": str(version.dataset_id), "number": version.number, **detail},
    )
