"""Use cases of datasets, and what other domains ask of them.

Uploads and versions do slow work on objects and live in `uploads.py` and `versions.py`.
"""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.core.wire import Channel, FileRef
from backend.datasets.errors import DatasetVersionNotFound
from backend.datasets.manifest import read_manifest
from backend.datasets.models import DatasetVersion
from backend.datasets.repository import DatasetRepository

MANIFEST_NAME = "manifest.parquet"


def get_version(session: Session, scope: Scope, version_id: UUID) -> DatasetVersion:
    """One dataset version. Raises DatasetVersionNotFound (404)."""
    version = DatasetRepository(session, scope).version(version_id)
    if version is None:
        raise DatasetVersionNotFound(f"there is no dataset version {version_id}")
    return version


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
