"""Use cases of datasets themselves, and what other domains ask about versions and blobs."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.pagination import PageRequest
from backend.core.storage import ObjectStore
from backend.core.wire import Channel, FileRef
from backend.datasets.errors import (
    DatasetHasVersions,
    DatasetKindUnusable,
    DatasetNameTaken,
    DatasetNotFound,
    DatasetVersionNotFound,
    TargetInvalid,
)
from backend.datasets.kinds import known_columns
from backend.datasets.manifest import read_manifest
from backend.datasets.models import Dataset, DatasetVersion
from backend.datasets.repository import DatasetRepository
from backend.datasets.schemas import DatasetCreate
from backend.projects.service import get_project

KIND = "dataset"
BUILT_KINDS = frozenset({"image", "tabular", "text"})
TRAINABLE_KINDS = ("image", "text")
MANIFEST_NAME = "manifest.parquet"

# --- for other domains ---


def get_version(session: Session, scope: Scope, version_id: UUID) -> DatasetVersion:
    """One dataset version. Raises DatasetVersionNotFound (404)."""
    version = DatasetRepository(session, scope).version(version_id)
    if version is None:
        raise DatasetVersionNotFound(f"there is no dataset version {version_id}")
    return version


def check_trainable(session: Session, scope: Scope, version_id: UUID, kind: str) -> None:
    """Whether a job that reads datasets of `kind` can read this version.

    Raises DatasetVersionNotFound, DatasetKindUnusable.
    """
    version = get_version(session, scope, version_id)
    if version.kind != kind or kind not in TRAINABLE_KINDS:
        raise DatasetKindUnusable(
            f"this is a version of a dataset of kind '{version.kind}'; this job reads datasets of kind '{kind}'",
            kind=version.kind,
        )


def dataset_channel(session: Session, scope: Scope, dataset_version_id: UUID) -> Channel:
    """The version as a job's input: its manifest, whose rows name the blobs. Raises DatasetVersionNotFound."""
    version = get_version(session, scope, dataset_version_id)
    manifest = FileRef(name=MANIFEST_NAME, sha256=version.manifest_sha256, size_bytes=version.manifest_bytes)
    return Channel(name="dataset", kind="dataset", files=[manifest])


@lru_cache(maxsize=32)
def version_digests(storage: ObjectStore, manifest_sha256: str, organization_id: UUID) -> frozenset[str]:
    """Digests of every blob a manifest names, and its own. Raises ObjectMissing (404)."""
    table = read_manifest(storage.get_blob(organization_id, manifest_sha256))
    return frozenset(table.column("sha256").to_pylist()) | {manifest_sha256}


def record_blob(session: Session, scope: Scope, sha256: str, size_bytes: int) -> None:
    """Note that the organization has this blob; nothing changes when it is known."""
    DatasetRepository(session, scope).add_blobs({sha256: size_bytes})


def blob_sizes(session: Session, scope: Scope, digests: Sequence[str]) -> dict[str, int]:
    """Size in bytes of those of the digests that the organization has stored."""
    return DatasetRepository(session, scope).blob_sizes(digests)


# --- datasets ---


def create_dataset(session: Session, principal: Principal, wanted: DatasetCreate) -> Dataset:
    """A new dataset. Raises ProjectNotFound, DatasetNameTaken, TargetInvalid (columns of what has none)."""
    if wanted.kind != "tabular" and (wanted.target_column is not None or wanted.column_types):
        raise TargetInvalid("only a dataset of kind 'tabular' has columns", field="target_column")
    project = get_project(session, principal.scope, wanted.project_id)
    dataset = Dataset(
        organization_id=principal.organization_id,
        project_id=project.id,
        name=wanted.name,
        kind=wanted.kind,
        description=wanted.description,
        tags=dict(wanted.tags),
        created_by=principal.actor,
        target_column=wanted.target_column,
        column_types=dict(wanted.column_types),
    )
    if not DatasetRepository(session, principal.scope).add_dataset(dataset):
        raise DatasetNameTaken(f"the project has a dataset named '{wanted.name}'", name=wanted.name)
    _record(session, principal, "dataset.create", dataset, {"name": dataset.name, "kind": dataset.kind})
    return dataset


def get_dataset(session: Session, scope: Scope, dataset_id: UUID) -> Dataset:
    """One dataset. Raises DatasetNotFound (404)."""
    dataset = DatasetRepository(session, scope).dataset(dataset_id)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    return dataset


def count_labels(session: Session, scope: Scope, dataset_id: UUID) -> dict[str, int]:
    """Images or texts per label, as they are now; nothing of a table."""
    repository = DatasetRepository(session, scope)
    labels = repository.labels(dataset_id)
    if set(labels) != {""}:
        return labels
    counts: Counter[str] = Counter()
    for file in repository.attributes(dataset_id):
        counts.update(file.get("labels", {}))
    return {label: counts[label] for label in sorted(counts) if label}


def count_contents(session: Session, scope: Scope, dataset_id: UUID) -> tuple[int, int]:
    """(files, examples) of the dataset as it is now: an example is an image, a row of a table, a text."""
    repository = DatasetRepository(session, scope)
    files = repository.labels(dataset_id)
    if set(files) != {""}:
        return sum(files.values()), sum(files.values())
    return files[""], sum(file["rows"] for file in repository.attributes(dataset_id))


def list_datasets(
    session: Session, scope: Scope, page: PageRequest, *, project_id: UUID | None = None, name: str | None = None
) -> tuple[list[Dataset], str | None]:
    """One page of datasets, newest first, and the next page's cursor."""
    return DatasetRepository(session, scope).datasets(page, project_id=project_id, name=name)


def find_named(session: Session, scope: Scope, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
    """(id, name, kind) of up to `limit` datasets whose name holds `words`; see `core.names`."""
    return DatasetRepository(session, scope).named(words, limit)


def update_dataset(
    session: Session,
    principal: Principal,
    dataset_id: UUID,
    *,
    description: str | None = None,
    tags: dict[str, str] | None = None,
    target_column: str | None = None,
) -> Dataset:
    """Change description, all tags or a table's target; None leaves them, "" takes the target away.

    Raises DatasetNotFound, TargetInvalid.
    """
    dataset = DatasetRepository(session, principal.scope).dataset(dataset_id, lock=True)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    changed = []
    if description is not None:
        dataset.description = description
        changed.append("description")
    if tags is not None:
        dataset.tags = dict(tags)
        changed.append("tags")
    if target_column is not None:
        _check_target(DatasetRepository(session, principal.scope), dataset, target_column)
        dataset.target_column = target_column or None
        changed.append("target_column")
    _record(session, principal, "dataset.update", dataset, {"changed": changed})
    return dataset


def _check_target(repository: DatasetRepository, dataset: Dataset, target: str) -> None:
    if dataset.kind != "tabular":
        raise TargetInvalid(f"a dataset of kind '{dataset.kind}' has no columns", hint="leave `target_column` out")
    columns = known_columns(repository.attributes(dataset.id))
    if target and columns and target not in columns:
        raise TargetInvalid(f"there is no column '{target}'", columns=sorted(columns)[:100])


def delete_dataset(session: Session, principal: Principal, dataset_id: UUID) -> list[UUID]:
    """Remove a dataset that has no versions, its files and uploads; returns the uploads' ids.

    Raises DatasetNotFound, DatasetHasVersions. Parts of the uploads are objects: remove them after the commit
    (`uploads.remove_parts`).
    """
    repository = DatasetRepository(session, principal.scope)
    dataset = repository.dataset(dataset_id, lock=True)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    if repository.has_versions(dataset_id):
        raise DatasetHasVersions(f"dataset '{dataset.name}' has versions, which jobs and models refer to for good")
    uploads = repository.delete_dataset(dataset_id)
    _record(session, principal, "dataset.delete", dataset, {"name": dataset.name})
    return uploads


def dataset_not_found(dataset_id: UUID) -> DatasetNotFound:
    """The error of a dataset that is absent or somebody else's."""
    return DatasetNotFound(f"there is no dataset {dataset_id}")


def _record(session: Session, principal: Principal, action: str, dataset: Dataset, detail: dict[str, object]) -> None:
    audit.record(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind=KIND,
        resource_id=dataset.id,
        detail=detail,
    )
