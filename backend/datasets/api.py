"""REST routes of datasets, uploads and dataset versions.

Routes that move content take no transaction: they hold no session while bytes flow.
"""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, status
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from backend.core.fields import ResourceName
from backend.core.http import Reader, Transaction, Writer, gathered
from backend.core.pagination import InvalidCursor, Page, PageParameters, PageRequest
from backend.core.problems import may_raise, raises
from backend.core.storage import STORED, DigestMismatch, ObjectMissing, Received, StorageUnavailable
from backend.datasets import service
from backend.datasets.answers import file_answer
from backend.datasets.errors import (
    DatasetHasVersions,
    DatasetNameTaken,
    DatasetNotFound,
    DatasetVersionNotFound,
    FileNotInVersion,
    InvalidFiles,
    PartNumberUnknown,
    PartSizeMismatch,
    SingleClass,
    SplitInvalid,
    TargetInvalid,
    TooFewFiles,
    TruncatedBody,
    UploadIncomplete,
    UploadInvalid,
    UploadNotFound,
    UploadNotOpen,
)
from backend.datasets.models import Dataset
from backend.datasets.schemas import (
    DatasetCreate,
    DatasetDetail,
    DatasetRead,
    DatasetUpdate,
    FileRead,
    PartRead,
    Split,
    UploadCreate,
    UploadDetail,
    UploadRead,
    VersionCreate,
    VersionRead,
    VersionUpdate,
)
from backend.projects.errors import ProjectNotFound

MAX_FILES_PER_PAGE = 1000
PART_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(prefix="/api/v1")
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]

# --- datasets ---


@router.post(
    "/datasets",
    status_code=status.HTTP_201_CREATED,
    tags=["datasets"],
    responses=raises(ProjectNotFound, DatasetNameTaken, TargetInvalid),
)
def create_dataset(body: DatasetCreate, principal: Writer, session: Transaction) -> DatasetRead:
    """Create a dataset. 409 `dataset_name_taken`."""
    return DatasetRead.model_validate(service.create_dataset(session, principal, body))


@router.get("/datasets", tags=["datasets"])
def list_datasets(
    principal: Reader,
    session: Transaction,
    page: PageParameters,
    project_id: UUID | None = None,
    name: Annotated[ResourceName | None, Query(description="only datasets of this name")] = None,
) -> Page[DatasetRead]:
    """List datasets, newest first."""
    rows, cursor = service.list_datasets(session, principal.scope, page, project_id=project_id, name=name)
    return Page(items=[DatasetRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/datasets/{dataset_id}", tags=["datasets"], responses=raises(DatasetNotFound))
def get_dataset(dataset_id: UUID, principal: Reader, session: Transaction) -> DatasetDetail:
    """Read one dataset, with its images or texts per label."""
    dataset: Dataset = service.get_dataset(session, principal.scope, dataset_id)
    labels = service.count_labels(session, principal.scope, dataset_id)
    files, examples = service.count_contents(session, principal.scope, dataset_id)
    known = DatasetRead.model_validate(dataset).model_dump()
    return DatasetDetail(**known, labels=labels, file_count=files, example_count=examples)


@router.patch("/datasets/{dataset_id}", tags=["datasets"], responses=raises(DatasetNotFound, TargetInvalid))
def update_dataset(dataset_id: UUID, body: DatasetUpdate, principal: Writer, session: Transaction) -> DatasetRead:
    """Change description, tags or a table's target column; what is left out stays. 422 `target_invalid`."""
    dataset = service.update_dataset(
        session,
        principal,
        dataset_id,
        description=body.description,
        tags=body.tags,
        target_column=body.target_column,
    )
    return DatasetRead.model_validate(dataset)


@router.delete(
    "/datasets/{dataset_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    tags=["datasets"],
    responses=raises(DatasetNotFound, DatasetHasVersions, StorageUnavailable),
)
def delete_dataset(dataset_id: UUID, principal: Writer, request: Request) -> None:
    """Delete a dataset that has no versions. 409 `dataset_has_versions`."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        ended = service.delete_dataset(session, principal, dataset_id)
    for upload_id in ended:
        service.remove_parts(request.app.state.storage, principal.scope, upload_id)


# --- uploads ---


@router.post(
    "/datasets/{dataset_id}/uploads",
    status_code=status.HTTP_201_CREATED,
    tags=["uploads"],
    responses=raises(DatasetNotFound, UploadInvalid),
)
def open_upload(
    dataset_id: UUID, body: UploadCreate, principal: Writer, session: Transaction, request: Request
) -> UploadRead:
    """Open an upload; the answer says how many parts to put and how large they are."""
    limit = request.app.state.settings.api.max_body_bytes
    upload = service.open_upload(session, principal, dataset_id, body, max_part_bytes=limit)
    return UploadRead.model_validate(upload)


@router.get("/datasets/{dataset_id}/uploads", tags=["uploads"], responses=raises(DatasetNotFound))
def list_uploads(dataset_id: UUID, principal: Reader, session: Transaction, page: PageParameters) -> Page[UploadRead]:
    """List the uploads of a dataset, newest first."""
    rows, cursor = service.list_uploads(session, principal.scope, dataset_id, page)
    return Page(items=[UploadRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/uploads/{upload_id}", tags=["uploads"], responses=raises(UploadNotFound))
def get_upload(upload_id: UUID, principal: Reader, session: Transaction) -> UploadDetail:
    """Read an upload and which of its parts are stored, to resume it."""
    upload, parts = service.get_upload(session, principal.scope, upload_id)
    known = UploadRead.model_validate(upload).model_dump()
    return UploadDetail(**known, parts=[PartRead.model_validate(part) for part in parts])


@may_raise(UploadNotFound, UploadNotOpen, PartNumberUnknown)
def expected_part(upload_id: UUID, number: int, principal: Writer, request: Request) -> int:
    """A dependency: bytes this part must have. It runs before any of the body is read."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        return service.expected_part_bytes(session, principal.scope, upload_id, number)


@may_raise(PartSizeMismatch, TruncatedBody)
async def received_part(
    request: Request, expected_bytes: Annotated[int, Depends(expected_part)]
) -> AsyncIterator[Received]:
    """A dependency: the body, spooled and hashed. Raises PartSizeMismatch, TruncatedBody."""
    with Received() as received:
        try:
            async for chunk in gathered(request.stream()):
                if received.size_bytes + len(chunk) > expected_bytes:
                    raise PartSizeMismatch(
                        f"this part has {expected_bytes} bytes, received more", expected_bytes=expected_bytes
                    )
                await run_in_threadpool(received.write, chunk)
        except ClientDisconnect as error:
            raise TruncatedBody(f"the body ended after {received.size_bytes} of {expected_bytes} bytes") from error
        yield received


@router.put(
    "/uploads/{upload_id}/parts/{number}",
    tags=["uploads"],
    openapi_extra=PART_BODY,
    responses=raises(UploadNotFound, UploadNotOpen, DigestMismatch, *STORED),
)
def put_part(
    *,
    upload_id: UUID,
    number: int,
    principal: Writer,
    content: Annotated[Received, Depends(received_part)],
    request: Request,
    x_content_sha256: Annotated[str | None, Header(pattern=r"^[0-9a-f]{64}$")] = None,
) -> PartRead:
    """Store a part: the raw bytes. Putting it again replaces it. 422 `part_size_mismatch`, `checksum_mismatch`."""
    part = service.store_part(
        request.app.state.database,
        request.app.state.storage,
        principal.scope,
        upload_id,
        number=number,
        content=content,
        declared_sha256=x_content_sha256,
    )
    return PartRead.model_validate(part)


@router.post(
    "/uploads/{upload_id}/complete",
    tags=["uploads"],
    responses=raises(UploadNotFound, UploadNotOpen, UploadIncomplete, DigestMismatch, InvalidFiles, *STORED),
)
def complete_upload(upload_id: UUID, principal: Writer, request: Request) -> UploadRead:
    """Check the whole file and add what it holds to the dataset, all or nothing.

    409 `upload_incomplete` names the missing parts. 422 `checksum_mismatch` and `invalid_files` end the upload.
    """
    state = request.app.state
    return UploadRead.model_validate(service.complete_upload(state.database, state.storage, principal, upload_id))


@router.delete(
    "/uploads/{upload_id}", tags=["uploads"], responses=raises(UploadNotFound, UploadNotOpen, StorageUnavailable)
)
def abort_upload(upload_id: UUID, principal: Writer, request: Request) -> UploadRead:
    """Give an upload up; its parts are removed. 409 `upload_not_open` when it has ended otherwise."""
    state = request.app.state
    return UploadRead.model_validate(service.abort_upload(state.database, state.storage, principal, upload_id))


# --- versions ---


@router.post(
    "/datasets/{dataset_id}/versions",
    status_code=status.HTTP_201_CREATED,
    tags=["dataset versions"],
    responses=raises(DatasetNotFound, SingleClass, TooFewFiles, SplitInvalid, TargetInvalid, ObjectMissing, *STORED),
)
def create_version(dataset_id: UUID, body: VersionCreate, principal: Writer, request: Request) -> VersionRead:
    """Freeze the dataset's files into a version.

    422 `single_class`, `too_few_files`, `split_invalid`, `target_invalid`.
    """
    state = request.app.state
    return VersionRead.model_validate(
        service.create_version(state.database, state.storage, principal, dataset_id, body)
    )


@router.get("/datasets/{dataset_id}/versions", tags=["dataset versions"], responses=raises(DatasetNotFound))
def list_versions(dataset_id: UUID, principal: Reader, session: Transaction, page: PageParameters) -> Page[VersionRead]:
    """List the versions of a dataset, newest first."""
    rows, cursor = service.list_versions(session, principal.scope, dataset_id, page)
    return Page(items=[VersionRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/dataset-versions/{version_id}", tags=["dataset versions"], responses=raises(DatasetVersionNotFound))
def get_version(version_id: UUID, principal: Reader, session: Transaction) -> VersionRead:
    """Read one version."""
    return VersionRead.model_validate(service.get_version(session, principal.scope, version_id))


@router.patch("/dataset-versions/{version_id}", tags=["dataset versions"], responses=raises(DatasetVersionNotFound))
def tag_version(version_id: UUID, body: VersionUpdate, principal: Writer, session: Transaction) -> VersionRead:
    """Replace a version's tags."""
    return VersionRead.model_validate(service.tag_version(session, principal, version_id, body.tags))


@router.get(
    "/dataset-versions/{version_id}/files",
    tags=["dataset versions"],
    responses=raises(DatasetVersionNotFound, InvalidCursor, ObjectMissing, StorageUnavailable),
)
def list_files(
    *,
    version_id: UUID,
    principal: Reader,
    request: Request,
    split: Split | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_FILES_PER_PAGE)] = 100,
    cursor: Annotated[str | None, Query(max_length=18)] = None,
) -> Page[FileRead]:
    """List the files of a version, or of one of its splits, by path."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        version = service.get_version(session, principal.scope, version_id)
    page = PageRequest(limit=limit, cursor=cursor)
    rows, following = service.list_files(request.app.state.storage, version, page, split=split)
    return Page(items=[FileRead.model_validate(row) for row in rows], next_cursor=following)


@router.get(
    "/dataset-versions/{version_id}/files/{sha256}",
    tags=["dataset versions"],
    response_class=Response,
    responses=raises(DatasetVersionNotFound, FileNotInVersion, ObjectMissing, StorageUnavailable),
)
def get_file(version_id: UUID, sha256: Digest, principal: Reader, request: Request) -> Response:
    """The content of one file, as it was uploaded."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        version = service.get_version(session, principal.scope, version_id)
    content, size_bytes, media_type = service.open_file(request.app.state.storage, version, sha256)
    return file_answer(content, sha256, size_bytes, media_type)
