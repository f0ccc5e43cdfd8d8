"""Use cases of uploads: open, store parts, resume, give up, complete.

Storing and completing move many bytes: they load, act on objects with no session open, and record under the
upload's row lock, which alone decides whether it is still open. A process that dies in between leaves the upload
open, and completing it again does the same.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import IO
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Database, Scope
from backend.core.errors import DomainError
from backend.core.lifecycle import record_creation, transition
from backend.core.pagination import PageRequest
from backend.core.storage import CHUNK_BYTES, DigestMismatch, ObjectMissing, ObjectStore, Received
from backend.datasets.catalog import dataset_not_found, get_dataset
from backend.datasets.errors import (
    InvalidFiles,
    PartNumberUnknown,
    PartSizeMismatch,
    UploadIncomplete,
    UploadInvalid,
    UploadNotFound,
    UploadNotOpen,
)
from backend.datasets.ingest import record, store, what_is_known
from backend.datasets.kinds import ENDINGS, READERS, Incoming, NewFile
from backend.datasets.models import Upload, UploadPart
from backend.datasets.repository import DatasetRepository
from backend.datasets.schemas import MAX_PARTS, UploadCreate
from backend.datasets.states import UPLOAD_TRANSITIONS

KIND = "upload"
PARTS_PREFIX = "uploads/"
LIFETIME = timedelta(days=7)
MISSING_SHOWN = 1000


def open_upload(
    session: Session, principal: Principal, dataset_id: UUID, wanted: UploadCreate, *, max_part_bytes: int
) -> Upload:
    """A new upload. Raises DatasetNotFound, UploadInvalid (no such file for this kind; parts too large or too many)."""
    repository = DatasetRepository(session, principal.scope)
    dataset = repository.dataset(dataset_id, lock=True)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    check_name(dataset.kind, wanted.file_name, wanted.label)
    if wanted.part_size_bytes > max_part_bytes:
        raise UploadInvalid(f"a part has at most {max_part_bytes} bytes", max_part_size_bytes=max_part_bytes)
    now = database_now(session)
    upload = Upload(
        organization_id=principal.organization_id,
        dataset_id=dataset_id,
        file_name=wanted.file_name,
        size_bytes=wanted.size_bytes,
        sha256=wanted.sha256,
        part_size_bytes=wanted.part_size_bytes,
        label=wanted.label,
        status="open",
        status_reason="waiting for parts",
        errors=[],
        created_by=principal.actor,
        expires_at=now + LIFETIME,
        completed_at=None,
        file_count=0,
    )
    if upload.part_count > MAX_PARTS:
        raise UploadInvalid(f"{upload.part_count} parts; at most {MAX_PARTS}", hint="choose larger parts")
    repository.add(upload)
    record_creation(session, KIND, upload, reason=upload.status_reason, actor=principal.actor)
    return upload


def check_name(kind: str, file_name: str, label: str | None) -> None:
    """Whether a dataset of this kind takes such a file. Raises UploadInvalid."""
    if label is not None and kind == "tabular":
        raise UploadInvalid("rows of a table have no label", hint="leave `label` out; a table has a target column")
    endings = ENDINGS[kind, label is not None]
    if endings and not file_name.lower().endswith(endings):
        hint = f"give it a name that ends in one of {', '.join(endings)}"
        raise UploadInvalid(f"a dataset of kind '{kind}' takes no file named '{file_name}'", hint=hint)


def get_upload(session: Session, scope: Scope, upload_id: UUID) -> tuple[Upload, Sequence[UploadPart]]:
    """An upload and its stored parts, by number. Raises UploadNotFound."""
    repository = DatasetRepository(session, scope)
    upload = repository.upload(upload_id)
    if upload is None:
        raise UploadNotFound(f"there is no upload {upload_id}")
    return upload, repository.parts(upload_id)


def list_uploads(
    session: Session, scope: Scope, dataset_id: UUID, page: PageRequest, *, status: str | None = None
) -> tuple[list[Upload], str | None]:
    """One page of a dataset's uploads, newest first, and the next page's cursor; `status` None = any.

    Raises DatasetNotFound.
    """
    get_dataset(session, scope, dataset_id)
    return DatasetRepository(session, scope).uploads(page, dataset_id=dataset_id, status=status)


def expected_part_bytes(session: Session, scope: Scope, upload_id: UUID, number: int) -> int:
    """Size that part `number` (from 1) must have. Raises UploadNotFound, UploadNotOpen, PartNumberUnknown."""
    upload = _open_upload(DatasetRepository(session, scope), upload_id)
    if not 1 <= number <= upload.part_count:
        raise PartNumberUnknown(f"parts are numbered from 1 to {upload.part_count}", part_count=upload.part_count)
    return upload.last_part_size_bytes if number == upload.part_count else upload.part_size_bytes


def store_part(
    database: Database,
    storage: ObjectStore,
    scope: Scope,
    upload_id: UUID,
    *,
    number: int,
    content: Received,
    declared_sha256: str | None,
) -> UploadPart:
    """Store one part, replacing one of the same number.

    Raises what `expected_part_bytes` does, PartSizeMismatch, and DigestMismatch.
    """
    with database.unit_of_work(scope) as session:
        expected = expected_part_bytes(session, scope, upload_id, number)
    sha256, size = content.sha256(), content.size_bytes
    if size != expected:
        raise PartSizeMismatch(f"part {number} has {expected} bytes, received {size}", expected_bytes=expected)
    if declared_sha256 is not None and declared_sha256 != sha256:
        raise DigestMismatch(f"declared SHA-256 {declared_sha256}, received {sha256}")
    key = _part_key(scope, upload_id, number)
    storage.put(key, content.whole())
    try:
        with database.unit_of_work(scope) as session:
            repository = DatasetRepository(session, scope)
            _open_upload(repository, upload_id, lock=True)
            return repository.put_part(upload_id, number=number, size_bytes=size, sha256=sha256)
    except (UploadNotOpen, UploadNotFound):
        storage.delete(key)
        raise


def abort_upload(database: Database, storage: ObjectStore, principal: Principal, upload_id: UUID) -> Upload:
    """Give an upload up and remove its parts; again changes nothing. Raises UploadNotFound, UploadNotOpen."""
    with database.unit_of_work(principal.scope) as session:
        repository = DatasetRepository(session, principal.scope)
        upload = _locked(repository, upload_id)
        if upload.status != "aborted":
            end_upload(session, principal.actor, upload, "aborted", reason="given up")
    remove_parts(storage, principal.scope, upload_id)
    return upload


def complete_upload(database: Database, storage: ObjectStore, principal: Principal, upload_id: UUID) -> Upload:
    """Join the parts, check them, and make every file in them a file of the dataset, or none.

    Completing a completed upload returns it. Raises UploadNotFound, UploadNotOpen, UploadIncomplete, which leave
    the upload as it is; DigestMismatch and InvalidFiles, after which it is `failed` and its parts are gone.
    """
    scope = principal.scope
    with database.unit_of_work(scope) as session:
        repository = DatasetRepository(session, scope)
        upload = _locked(repository, upload_id)
        if upload.status == "completed":
            return upload
        _require_all_parts(_open_upload(repository, upload_id), repository.parts(upload_id))
        kind, known = what_is_known(repository, upload.dataset_id)
    try:
        with storage.joined(_part_keys(scope, upload)) as file:
            _check_digest(file, upload.sha256)
            with READERS[kind](file, upload.file_name, upload.label, known) as incoming:
                store(storage, scope, incoming)
        upload = _record_files(database, principal, upload_id, incoming)
    except ObjectMissing as error:
        raise UploadNotOpen("parts of this upload are gone: it was ended meanwhile") from error
    except (DigestMismatch, InvalidFiles) as error:
        _record_failure(database, principal, upload_id, error)
        remove_parts(storage, scope, upload_id)
        raise
    remove_parts(storage, scope, upload_id)
    return upload


def _require_all_parts(upload: Upload, parts: Sequence[UploadPart]) -> None:
    missing = sorted(set(range(1, upload.part_count + 1)) - {part.number for part in parts})
    if missing:
        raise UploadIncomplete(
            f"{len(missing)} of {upload.part_count} parts are missing", missing=missing[:MISSING_SHOWN]
        )


def _part_keys(scope: Scope, upload: Upload) -> list[tuple[str, int]]:
    """Keys and sizes of all parts, in their order."""
    sizes = [upload.part_size_bytes] * (upload.part_count - 1) + [upload.last_part_size_bytes]
    return [(_part_key(scope, upload.id, number), size) for number, size in enumerate(sizes, start=1)]


def _check_digest(file: IO[bytes], declared: str) -> None:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest() != declared:
        raise DigestMismatch(f"declared SHA-256 {declared}, received {digest.hexdigest()}")


def _record_files(database: Database, principal: Principal, upload_id: UUID, incoming: Incoming) -> Upload:
    with database.unit_of_work(principal.scope) as session:
        repository = DatasetRepository(session, principal.scope)
        upload = _locked(repository, upload_id)
        if upload.status == "completed":
            return upload
        _open_upload(repository, upload_id)
        record(repository, upload.dataset_id, upload.id, files=incoming.files, blobs=incoming.blobs)
        upload.file_count = len(incoming.files)
        upload.completed_at = database_now(session)
        end_upload(session, principal.actor, upload, "completed", reason=_what_came(incoming.files))
    return upload


def _what_came(files: Sequence[NewFile]) -> str:
    examples = sum(file.attributes.get("rows", 0) for file in files)
    return f"{examples} rows" if examples else f"{len(files)} files"


def _record_failure(database: Database, principal: Principal, upload_id: UUID, error: DomainError) -> None:
    with database.unit_of_work(principal.scope) as session:
        upload = _locked(DatasetRepository(session, principal.scope), upload_id)
        if upload.status == "open":
            problem = {"path": upload.file_name, "code": error.code, "message": error.detail}
            upload.errors = error.extra.get("errors", [problem])
            end_upload(session, principal.actor, upload, "failed", reason=error.detail)


def end_upload(session: Session, actor: str, upload: Upload, status: str, *, reason: str) -> None:
    """The upload leaves `open`, and its parts' rows go. Raises UploadNotOpen."""
    if upload.status != "open":
        raise UploadNotOpen(f"this upload is {upload.status}")
    transition(session, KIND, upload, status, UPLOAD_TRANSITIONS, reason=reason, actor=actor)
    scope = Scope(upload.organization_id)
    DatasetRepository(session, scope).delete_parts(upload.id)
    audit.record(
        session,
        actor,
        scope,
        action=f"upload.{status}",
        resource_kind=KIND,
        resource_id=upload.id,
        detail={"dataset_id": str(upload.dataset_id), "file_name": upload.file_name, "reason": reason},
    )


def _locked(repository: DatasetRepository, upload_id: UUID) -> Upload:
    upload = repository.upload(upload_id, lock=True)
    if upload is None:
        raise UploadNotFound(f"there is no upload {upload_id}")
    return upload


def _open_upload(repository: DatasetRepository, upload_id: UUID, *, lock: bool = False) -> Upload:
    upload = repository.upload(upload_id, lock=lock)
    if upload is None:
        raise UploadNotFound(f"there is no upload {upload_id}")
    if upload.status != "open":
        raise UploadNotOpen(f"this upload is {upload.status}")
    if repository.is_expired(upload):
        raise UploadNotOpen(f"this upload expired at {upload.expires_at.isoformat()}", hint="open a new one")
    return upload


def _part_key(scope: Scope, upload_id: UUID, number: int) -> str:
    return f"{_prefix(scope, upload_id)}{number:05d}"


def _prefix(scope: Scope, upload_id: UUID) -> str:
    return f"{PARTS_PREFIX}{scope.organization_id}/{upload_id}/"


def remove_parts(storage: ObjectStore, scope: Scope, upload_id: UUID) -> None:
    """Remove the objects of an upload that has ended."""
    for key in storage.keys(_prefix(scope, upload_id)):
        storage.delete(key)
