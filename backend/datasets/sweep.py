"""What the control worker does for uploads: give up those nobody finished, and remove parts that a crash left.

A part's object belongs to an open upload. One that does not was left by a process that died between ending the
upload and removing its parts, or between storing a part and recording it.
"""

from uuid import UUID

from backend.core.db import Database, Scope, act_as
from backend.core.storage import ObjectStore
from backend.datasets import fetching
from backend.datasets.repository import DatasetRepository, UnscopedImportRepository, UnscopedUploadRepository
from backend.datasets.uploads import PARTS_PREFIX, end_upload, remove_parts

ACTOR = "system:datasets"
BATCH = 100


def expire_uploads(database: Database, storage: ObjectStore) -> int:
    """End up to a hundred open uploads past their time; how many. Role *controller*."""
    with database.unit_of_work() as session:
        expired = UnscopedUploadRepository(session).expired(BATCH)
    for organization_id, upload_id in expired:
        with database.unit_of_work() as session:
            act_as(session, organization_id)
            repository = DatasetRepository(session, Scope(organization_id))
            upload = repository.upload(upload_id, lock=True)
            if upload is not None and upload.status == "open":
                end_upload(session, ACTOR, upload, "aborted", reason="not completed in time")
        remove_parts(storage, Scope(organization_id), upload_id)
    return len(expired)


def remove_orphans(database: Database, storage: ObjectStore) -> int:
    """Remove parts whose upload is not open; how many uploads had some. Role *controller*."""
    # Objects first, rows second: an upload opened in between owns none of the objects listed.
    owners: dict[UUID, UUID] = {}
    for key in storage.keys(PARTS_PREFIX):
        _, organization, upload, _ = key.split("/")
        owners[UUID(upload)] = UUID(organization)
    with database.unit_of_work() as session:
        still_open = UnscopedUploadRepository(session).open_among(owners)
    orphans = {upload_id: owners[upload_id] for upload_id in owners if upload_id not in still_open}
    for upload_id, organization_id in orphans.items():
        remove_parts(storage, Scope(organization_id), upload_id)
    return len(orphans)


def remove_orphans_of_imports(database: Database, storage: ObjectStore) -> int:
    """Remove parts whose import has ended; how many imports had some. Role *controller*."""
    owners: dict[UUID, UUID] = {}
    for key in storage.keys(fetching.PARTS_PREFIX):
        _, organization, imported, _ = key.split("/")
        owners[UUID(imported)] = UUID(organization)
    with database.unit_of_work() as session:
        still_open = UnscopedImportRepository(session).open_among(owners)
    orphans = {import_id: owners[import_id] for import_id in owners if import_id not in still_open}
    for import_id, organization_id in orphans.items():
        fetching.remove_parts(storage, Scope(organization_id), import_id)
    return len(orphans)
