"""What a dataset holds file by file, and its uploads. Their bytes go to the API, which takes a page's session too."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from backend.core.errors import RouteNotFound
from backend.core.storage import CHUNK_BYTES
from backend.datasets import service
from backend.datasets.images import content_type
from frontend import flash
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Back, Chosen, FromOurPage, LoggedIn, Pages
from frontend.pages.data import dataset_view
from frontend.services import parse_id
from frontend.views.data import Contents, FileView, UploadView, VersionView

router = APIRouter()

FILES_PER_PAGE = 60
ROWS_PER_PAGE = 25
OPEN_KNOWN = 10

Uploads = Annotated[Listing, Depends(Lists("status", sorts=("created_at",), usual="-created_at"))]
Versions = Annotated[Listing, Depends(Lists(sorts=("number",), usual="-number"))]


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
def list_files(desk: AtDesk, dataset_id: str, listing: Annotated[Listing, Depends(Lists("label"))]) -> Response:
    """The files of a dataset, or of one of its labels, a page at a time, as its kind shows them."""
    page, label = listing.page(FILES_PER_PAGE), listing["label"]
    with desk.session() as session:
        dataset = dataset_view(session, desk.viewer, dataset_id)
        totals = service.count_dataset(session, desk.scope, UUID(dataset.id))
        rows, following = service.browse_files(session, desk.scope, UUID(dataset.id), page, label=label or None)
    files = [FileView.in_dataset(row) for row in rows]
    context: dict[str, Any] = {"dataset": dataset, "contents": Contents.of(totals), "files": files, "label": label}
    return desk.show_list("data/files.html", None, listing, following, **context)


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
def list_uploads(desk: AtDesk, dataset_id: str, listing: Uploads) -> Response:
    """Every upload of a dataset, newest first, with what was wrong in each."""
    with desk.session() as session:
        dataset = dataset_view(session, desk.viewer, dataset_id)
        rows, following = service.list_uploads(
            session, desk.scope, UUID(dataset.id), listing.page(ROWS_PER_PAGE), status=listing["status"] or None
        )
    uploads = [UploadView.of(row) for row in rows]
    return desk.show_list("data/uploads.html", "uploads", listing, following, dataset=dataset, uploads=uploads)


@router.post("/data/{dataset_id}/uploads/discard", dependencies=[FromOurPage])
def discard_uploads(desk: AtDesk, dataset_id: str, chosen: Chosen) -> Response:
    """Give up the chosen uploads that wait for parts."""
    desk.viewer.require("write")
    with desk.session() as session:
        service.get_dataset(session, desk.scope, parse_id(dataset_id))

    def name(session: Session, upload_id: UUID) -> str:
        return service.get_upload(session, desk.scope, upload_id)[0].file_name

    def discard(upload_id: UUID) -> None:
        service.abort_upload(desk.back.database, desk.back.storage, desk.viewer, upload_id)

    done = desk.each(chosen, name=name, act=discard, done=desk.say("It was given up."))
    return desk.show_outcomes(done, f"/data/{dataset_id}/uploads")


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
def list_versions(desk: AtDesk, dataset_id: str, listing: Versions) -> Response:
    """Every version of a dataset, newest first."""
    with desk.session() as session:
        dataset = dataset_view(session, desk.viewer, dataset_id)
        rows, following = service.list_versions(session, desk.scope, UUID(dataset.id), listing.page(ROWS_PER_PAGE))
    versions = [VersionView.of(row) for row in rows]
    return desk.show_list("data/versions.html", None, listing, following, dataset=dataset, versions=versions)
