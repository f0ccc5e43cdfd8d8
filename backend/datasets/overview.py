"""Use cases of pages about datasets: search, counts, files one page at a time, what a split would give.

A dataset may hold 100,000 files: everything here is a count or a page of them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.pagination import PageRequest
from backend.datasets.catalog import count_contents, count_labels, get_dataset
from backend.datasets.models import Dataset, DatasetFile, DatasetVersion, Upload
from backend.datasets.overview_repository import OverviewRepository
from backend.datasets.schemas import VersionCreate
from backend.datasets.split import SPLITS, share_out
from backend.datasets.versions import require_training, sizes_of


@dataclass(frozen=True)
class LabelTotal:
    """What a dataset holds of one label: files, or texts, whose bytes are not counted one by one (0)."""

    label: str
    file_count: int
    size_bytes: int


@dataclass(frozen=True)
class DatasetTotals:
    """What a dataset holds, by label."""

    labels: list[LabelTotal]
    file_count: int
    size_bytes: int
    example_count: int


@dataclass(frozen=True)
class VersionPlan:
    """What freezing would give. `splits`: examples per split; `left_out`: examples in none.

    `classes`: examples per label and split; None where chance decides it (a split that is not stratified), or where
    the labels stand in a table that is read only when it is frozen.
    """

    splits: Mapping[str, int]
    left_out: int
    classes: Mapping[str, Mapping[str, int]] | None


def search_datasets(
    session: Session,
    scope: Scope,
    page: PageRequest,
    *,
    project_id: UUID | None = None,
    kind: str | None = None,
    text: str | None = None,
) -> tuple[list[Dataset], str | None]:
    """One page of datasets whose name contains `text` (in any case), newest first, and the next page's cursor."""
    return OverviewRepository(session, scope).datasets(page, project_id=project_id, kind=kind, text=text)


def count_files(session: Session, scope: Scope, dataset_ids: Collection[UUID]) -> dict[UUID, int]:
    """Files of each of these datasets; absent = none."""
    return OverviewRepository(session, scope).file_counts(dataset_ids)


def newest_versions(session: Session, scope: Scope, dataset_ids: Collection[UUID]) -> dict[UUID, DatasetVersion]:
    """The newest version of each of these datasets; absent = none."""
    return OverviewRepository(session, scope).newest_versions(dataset_ids)


def count_dataset(session: Session, scope: Scope, dataset_id: UUID) -> DatasetTotals:
    """Files, bytes and examples of a dataset, in all and by label."""
    rows = OverviewRepository(session, scope).label_totals(dataset_id)
    labels = [LabelTotal(label, files, size) for label, files, size in rows]
    files, size = sum(one.file_count for one in labels), sum(one.size_bytes for one in labels)
    if [one.label for one in labels] != [""]:
        return DatasetTotals(labels, files, size, files)
    _, examples = count_contents(session, scope, dataset_id)
    counted = count_labels(session, scope, dataset_id)
    return DatasetTotals([LabelTotal(label, texts, 0) for label, texts in counted.items()], files, size, examples)


def browse_files(
    session: Session, scope: Scope, dataset_id: UUID, page: PageRequest, *, label: str | None = None
) -> tuple[list[DatasetFile], str | None]:
    """One page of what a dataset holds, by path, and the next page's cursor. Raises DatasetNotFound."""
    get_dataset(session, scope, dataset_id)
    return OverviewRepository(session, scope).files(page, dataset_id, label=label)


def find_file(session: Session, scope: Scope, dataset_id: UUID, file_id: UUID) -> DatasetFile | None:
    """One file of a dataset, not yet or already frozen."""
    return OverviewRepository(session, scope).file(dataset_id, file_id)


def open_uploads(
    session: Session, scope: Scope, dataset_id: UUID, *, limit: int, sha256: str | None = None
) -> list[tuple[Upload, int]]:
    """(upload, stored parts) of what can be resumed, newest first; with `sha256`, of one content."""
    return OverviewRepository(session, scope).open_uploads(dataset_id, sha256=sha256, limit=limit)


def plan_version(session: Session, scope: Scope, dataset_id: UUID, wanted: VersionCreate) -> VersionPlan:
    """What `create_version` would give now, from counts alone.

    Raises what `create_version` does: DatasetNotFound, SingleClass, SplitInvalid, TooFewFiles.
    """
    get_dataset(session, scope, dataset_id)
    totals = count_dataset(session, scope, dataset_id)
    labelled = {one.label: one.file_count for one in totals.labels}
    counts = labelled or ({"": totals.example_count} if totals.example_count else {})
    sizes = sizes_of(counts, wanted)
    left_out = sum(counts.values()) - sum(sizes.values())
    if not wanted.stratify or not labelled:
        return VersionPlan(sizes, left_out, None)
    shares = share_out(counts, sizes)
    require_training(counts, {label for label, files in shares["train"].items() if files})
    return VersionPlan(
        sizes,
        left_out,
        {label: {split: shares.get(split, {}).get(label, 0) for split in SPLITS} for label in sorted(counts)},
    )
