"""Use cases of imports: start, read, list, cancel. The control worker does the rest: `importing`.

Whoever starts one writes an intent: a row that is due. Cancelling is an intent too (★4).
"""

from typing import Any
from uuid import UUID

import msgspec
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core import outside
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.idempotency import TenantVault
from backend.core.ids import new_id
from backend.core.lifecycle import record_creation
from backend.core.pagination import PageRequest
from backend.core.settings import ImportSettings
from backend.datasets import sources
from backend.datasets.catalog import dataset_not_found, get_dataset
from backend.datasets.errors import ImportEnded, ImportNotFound, ImportSourceRefused
from backend.datasets.import_schemas import HttpCredentials, ImportCreate, S3Credentials
from backend.datasets.models import DatasetImport
from backend.datasets.repository import DatasetRepository, ImportRepository
from backend.datasets.schemas import FileName
from backend.datasets.sources import Access
from backend.datasets.states import IMPORT_TRANSITIONS
from backend.datasets.uploads import check_name

KIND = "dataset_import"
BELL = Doorbell("datasets.imports")
_FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)


def purpose(import_id: UUID) -> str:
    """What the address and credentials of an import are encrypted for."""
    return f"dataset_import:{import_id}"


def start_import(
    session: Session,
    principal: Principal,
    dataset_id: UUID,
    wanted: ImportCreate,
    *,
    vault: TenantVault,
    settings: ImportSettings,
) -> DatasetImport:
    """A new import. Raises DatasetNotFound, ImportSourceRefused, UploadInvalid (no such file for this kind)."""
    repository = DatasetRepository(session, principal.scope)
    dataset = repository.dataset(dataset_id, lock=True)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    _check_fit(wanted)
    access = _access(wanted)
    try:
        sources.check(access, settings.allowed_hosts)
    except outside.AddressRefused as error:
        raise ImportSourceRefused(str(error)) from error
    file_name = wanted.file_name or _named(access)
    check_name(dataset.kind, file_name, wanted.label)
    row = _new_row(session, principal, access, file_name=file_name, label=wanted.label)
    row.dataset_id = dataset_id
    secret = msgspec.json.encode(access)
    row.access_encrypted = vault.encrypt(session, principal.scope, secret, purpose=purpose(row.id))
    repository.add(row)
    record_creation(session, KIND, row, reason=row.status_reason, actor=principal.actor)
    detail = {"dataset_id": str(dataset_id), "source": row.source, "file_name": file_name}
    _audit(session, principal, "import.start", row, detail)
    ring_after_commit(session, BELL)
    return row


def _new_row(
    session: Session, principal: Principal, access: Access, *, file_name: str, label: str | None
) -> DatasetImport:
    return DatasetImport(
        id=new_id(),
        organization_id=principal.organization_id,
        source=sources.shown(access),
        file_name=file_name,
        label=label,
        status="queued",
        status_reason="waiting for a worker",
        errors=[],
        created_by=principal.actor,
        received_bytes=0,
        failed_tries=0,
        file_count=0,
        due_at=database_now(session),
    )


def _audit(session: Session, principal: Principal, action: str, row: DatasetImport, detail: dict[str, Any]) -> None:
    audit.record(
        session, principal, principal.scope, action=action, resource_kind=KIND, resource_id=row.id, detail=detail
    )


def _check_fit(wanted: ImportCreate) -> None:
    """Raises ImportSourceRefused where endpoint, region or credentials are not for such a source."""
    is_s3 = wanted.source.startswith("s3://")
    if not is_s3 and (wanted.endpoint_url is not None or wanted.region is not None):
        raise ImportSourceRefused("only an s3:// source has an endpoint and a region", field="source")
    if wanted.credentials is not None and isinstance(wanted.credentials, S3Credentials) != is_s3:
        raise ImportSourceRefused("these credentials are not for such a source", field="source")


def _access(wanted: ImportCreate) -> Access:
    access = Access(source=wanted.source, endpoint_url=wanted.endpoint_url, region=wanted.region)
    given = wanted.credentials
    if isinstance(given, S3Credentials):
        return msgspec.structs.replace(
            access,
            access_key_id=given.access_key_id,
            secret_access_key=given.secret_access_key.get_secret_value(),
            session_token=given.session_token.get_secret_value() if given.session_token else None,
        )
    if isinstance(given, HttpCredentials):
        return msgspec.structs.replace(access, authorization=given.authorization.get_secret_value())
    return access


def _named(access: Access) -> str:
    try:
        return _FILE_NAME.validate_python(sources.name_of(access))
    except ValidationError as error:
        raise ImportSourceRefused(
            "the address ends in no file name", hint="give `file_name`, with the ending of its format"
        ) from error


def get_import(session: Session, scope: Scope, import_id: UUID) -> DatasetImport:
    """One import. Raises ImportNotFound."""
    row = ImportRepository(session, scope).find(import_id)
    if row is None:
        raise ImportNotFound(f"there is no import {import_id}")
    return row


def list_imports(
    session: Session, scope: Scope, dataset_id: UUID, page: PageRequest
) -> tuple[list[DatasetImport], str | None]:
    """One page of a dataset's imports, newest first, and the next page's cursor. Raises DatasetNotFound."""
    get_dataset(session, scope, dataset_id)
    return ImportRepository(session, scope).page(page, dataset_id=dataset_id)


def cancel_import(session: Session, principal: Principal, import_id: UUID) -> DatasetImport:
    """Ask for its end; again changes nothing. Raises ImportNotFound, ImportEnded."""
    row = ImportRepository(session, principal.scope).find(import_id, lock=True)
    if row is None:
        raise ImportNotFound(f"there is no import {import_id}")
    if not IMPORT_TRANSITIONS[row.status] and row.status != "cancelled":
        raise ImportEnded(f"this import is {row.status}")
    if row.cancel_requested_at is None:
        row.cancel_requested_at = row.due_at = database_now(session)
        row.status_reason = "being cancelled"
        _audit(session, principal, "import.cancel", row, {"dataset_id": str(row.dataset_id)})
        ring_after_commit(session, BELL)
    return row
