"""What a dataset holds file by file, and its uploads. Their bytes go to the API, which takes a page's session too."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote, urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from backend.core.errors import RouteNotFound
from backend.core.pagination import PageRequest
from backend.core.storage import CHUNK_BYTES
from backend.datasets import service
from backend.datasets.images import content_type
from frontend import flash
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.pages.data import dataset_view
from frontend.services import parse_id
from frontend.views.data import Contents, FileView, UploadView, VersionView

router = APIRouter()

FILES_PER_PAGE = 60
ROWS_PER_PAGE = 25
OPEN_KNOWN = 10

Cursor = Annotated[str, Query(max_length=2000)]
Word = Annotated[str, Query(max_length=200)]


def content_response(
    request: Request, content: Iterator[bytes], *, sha256: str, size_bytes: int, path: str, download: bool
) -> Response:
    """A file's bytes. Who has its digest has all of it: it is cached for ever, and 304 when it is known already."""
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if download:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.replace('/', '_'), safe='')}"
    headers["Content-Length"] = str(size_bytes)
    if size_bytes <= CHUNK_BYTES:
        return Response(b"".join(content), media_type=content_type(path), headers=headers)
    return StreamingResponse(content, media_type=content_type(path), headers=headers)


@router.get("/data/{dataset_id}/files")
def list_files(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    dataset_id: str,
    label: Word = "",
    cursor: Cursor = "",
) -> Response:
    """The files of a dataset, or of one of its labels, a page at a time, as its kind shows them."""
    page = PageRequest(limit=FILES_PER_PAGE, cursor=cursor or None)
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        totals = service.count_dataset(session, viewer.scope, UUID(dataset.id))
        rows, following = service.browse_files(session, viewer.scope, UUID(dataset.id), page, label=label or None)
    context = framed(
        platform,
        viewer,
        dataset=dataset,
        contents=Contents.of(totals),
        files=[FileView.in_dataset(row) for row in rows],
        label=label,
        first=_files_address(dataset_id, label) if cursor else "",
        older=_files_address(dataset_id, label, following) if following else "",
    )
    return pages.respond(request, "data/files.html", context)


def _files_address(dataset_id: str, label: str, cursor: str = "") -> str:
    given = {name: value for name, value in (("label", label), ("cursor", cursor)) if value}
    return f"/data/{dataset_id}/files" + (f"?{urlencode(given)}" if given else "")


@router.get("/data/{dataset_id}/files/{file_id}")
def read_file(
    request: Request, viewer: LoggedIn, back: Back, dataset_id: str, file_id: str, *, download: bool = False
) -> Response:
    """The content of one file of a dataset, frozen or not."""
    with back.tenant(viewer) as session:
        file = service.find_file(session, viewer.scope, parse_id(dataset_id), parse_id(file_id))
    if file is None:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    return content_response(
        request,
        back.storage.stream_blob(viewer.organization_id, file.sha256),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        path=file.path,
        download=download,
    )


@router.get("/data/{dataset_id}/uploads")
def list_uploads(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    dataset_id: str,
    cursor: Cursor = "",
) -> Response:
    """Every upload of a dataset, newest first, with what was wrong in each."""
    page = PageRequest(limit=ROWS_PER_PAGE, cursor=cursor or None)
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        rows, following = service.list_uploads(session, viewer.scope, UUID(dataset.id), page)
    here = f"/data/{dataset_id}/uploads"
    context = framed(
        platform,
        viewer,
        dataset=dataset,
        uploads=[UploadView.of(row) for row in rows],
        first=here if cursor else "",
        older=f"{here}?{urlencode({'cursor': following})}" if following else "",
    )
    return pages.respond(request, "data/uploads.html", context)


@router.get("/data/{dataset_id}/open-uploads")
def find_open_uploads(
    viewer: LoggedIn, back: Back, dataset_id: str, sha256: Annotated[str, Query(pattern=r"^[0-9a-f]{64}$")]
) -> Response:
    """Uploads of this content that wait for parts, newest first, for the upload's script to go on with."""
    with back.tenant(viewer) as session:
        key = service.get_dataset(session, viewer.scope, parse_id(dataset_id)).id
        found = service.open_uploads(session, viewer.scope, key, limit=OPEN_KNOWN, sha256=sha256)
        known = [{"id": str(upload.id), "size_bytes": upload.size_bytes, "label": upload.label} for upload, _ in found]
    return JSONResponse({"uploads": known})


@router.post("/data/uploads/{upload_id}/discard", dependencies=[FromOurPage])
def discard_upload(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, upload_id: str) -> Response:
    """Give up an upload that waits for parts; they are removed."""
    viewer.require("write")
    ended = service.abort_upload(back.database, back.storage, viewer, parse_id(upload_id))
    said = pages.say(request, "The upload of %(name)s was given up.", name=ended.file_name)
    return flash.go_on(request, f"/data/{ended.dataset_id}", said)


@router.get("/data/{dataset_id}/versions")
def list_versions(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    dataset_id: str,
    cursor: Cursor = "",
) -> Response:
    """Every version of a dataset, newest first."""
    page = PageRequest(limit=ROWS_PER_PAGE, cursor=cursor or None)
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        rows, following = service.list_versions(session, viewer.scope, UUID(dataset.id), page)
    here = f"/data/{dataset_id}/versions"
    context = framed(
        platform,
        viewer,
        dataset=dataset,
        versions=[VersionView.of(row) for row in rows],
        first=here if cursor else "",
        older=f"{here}?{urlencode({'cursor': following})}" if following else "",
    )
    return pages.respond(request, "data/versions.html", context)
