"""REST routes of imports: files that the platform fetches by itself."""

from uuid import UUID

from fastapi import APIRouter, Request, status

from backend.core.http import Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.datasets import service
from backend.datasets.errors import DatasetNotFound, ImportEnded, ImportNotFound, ImportSourceRefused, UploadInvalid
from backend.datasets.import_schemas import ImportCreate, ImportRead

router = APIRouter(prefix="/api/v1", tags=["imports"])


@router.post(
    "/datasets/{dataset_id}/imports",
    status_code=status.HTTP_201_CREATED,
    responses=raises(DatasetNotFound, ImportSourceRefused, UploadInvalid),
)
def start_import(
    dataset_id: UUID, body: ImportCreate, principal: Writer, session: Transaction, request: Request
) -> ImportRead:
    """Fetch a file from an address and add what it holds to the dataset, all or nothing, in the background."""
    state = request.app.state
    row = service.start_import(
        session, principal, dataset_id, body, vault=state.security.vault, settings=state.settings.imports
    )
    return ImportRead.model_validate(row)


@router.get("/datasets/{dataset_id}/imports", responses=raises(DatasetNotFound))
def list_imports(dataset_id: UUID, principal: Reader, session: Transaction, page: PageParameters) -> Page[ImportRead]:
    """List the imports of a dataset, newest first."""
    rows, cursor = service.list_imports(session, principal.scope, dataset_id, page)
    return Page(items=[ImportRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/imports/{import_id}", responses=raises(ImportNotFound))
def get_import(import_id: UUID, principal: Reader, session: Transaction) -> ImportRead:
    """Read one import: how far it is, how it ended, what was wrong file by file."""
    return ImportRead.model_validate(service.get_import(session, principal.scope, import_id))


@router.post("/imports/{import_id}/cancel", responses=raises(ImportNotFound, ImportEnded))
def cancel_import(import_id: UUID, principal: Writer, session: Transaction) -> ImportRead:
    """Ask for its end; what has arrived is removed, the dataset stays as it is. 409 `import_ended`."""
    return ImportRead.model_validate(service.cancel_import(session, principal, import_id))
