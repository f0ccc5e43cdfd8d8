"""REST routes that show what a dataset or a version holds."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from backend.core.http import Reader
from backend.core.problems import raises
from backend.core.storage import ObjectMissing, StorageUnavailable
from backend.datasets import service
from backend.datasets.answers import file_answer
from backend.datasets.errors import DatasetNotFound, DatasetVersionNotFound, FileNotInDataset
from backend.datasets.preview_schemas import Preview

router = APIRouter(prefix="/api/v1")
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
SEEN = (ObjectMissing, StorageUnavailable)


@router.get("/datasets/{dataset_id}/preview", tags=["datasets"], responses=raises(DatasetNotFound, *SEEN))
def preview_dataset(dataset_id: UUID, principal: Reader, request: Request) -> Preview:
    """What the dataset holds now, before it is frozen: images per label, columns with statistics, or texts."""
    state = request.app.state
    return service.preview_dataset(state.database, state.storage, principal.scope, dataset_id)


@router.get(
    "/dataset-versions/{version_id}/preview",
    tags=["dataset versions"],
    responses=raises(DatasetVersionNotFound, *SEEN),
)
def preview_version(version_id: UUID, principal: Reader, request: Request) -> Preview:
    """What a version holds, all splits together."""
    state = request.app.state
    return service.preview_version(state.database, state.storage, principal.scope, version_id)


@router.get(
    "/datasets/{dataset_id}/files/{sha256}",
    tags=["datasets"],
    response_class=Response,
    responses=raises(DatasetNotFound, FileNotInDataset, *SEEN),
)
def get_dataset_file(dataset_id: UUID, sha256: Digest, principal: Reader, request: Request) -> Response:
    """The content of one file that is not frozen yet: an image as it was uploaded, a table's rows as Parquet."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        size_bytes, media_type = service.describe_file(session, principal.scope, dataset_id, sha256)
    content = request.app.state.storage.stream_blob(principal.organization_id, sha256)
    return file_answer(content, sha256, size_bytes, media_type)
