"""Imports of a dataset: the form, how far each is, and its end."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.pagination import PageRequest
from backend.datasets import service
from backend.datasets.import_schemas import ImportCreate
from frontend import flash
from frontend.backstage import Backstage
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.pages.data import dataset_view
from frontend.pages.jobs import STOP_POLLING
from frontend.services import parse_id
from frontend.views.data import ImportView, kind_of

router = APIRouter()

ROWS_PER_PAGE = 25
SECRETS = ("credentials.authorization", "credentials.secret_access_key")
API_EXAMPLE = """curl {base}/api/v1/datasets/{dataset}/imports \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"source": "https://example.org/data.csv"}}'"""
CLI_EXAMPLE = "modelyard datasets import {name} https://example.org/data.csv"

Cursor = Annotated[str, Query(max_length=2000)]


@router.get("/data/{dataset_id}/imports")
def list_imports(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    dataset_id: str,
    cursor: Cursor = "",
) -> Response:
    """The form and the imports, newest first; for htmx the list alone, until every one has ended."""
    context = _listed(request, back, viewer, pages, dataset_id, cursor)
    if "HX-Request" in request.headers:
        code = HTTPStatus.OK if context["live"] else STOP_POLLING
        return pages.respond(request, "data/imports.html", context, block="imports", status_code=code)
    return pages.respond(request, "data/imports.html", framed(platform, **context))


def _listed(
    request: Request, back: Backstage, viewer: Principal, pages: Pages, dataset_id: str, cursor: str = ""
) -> dict[str, Any]:
    page = PageRequest(limit=ROWS_PER_PAGE, cursor=cursor or None)
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        rows, following = service.list_imports(session, viewer.scope, UUID(dataset.id), page)
    here = f"/data/{dataset.id}/imports"
    imports = [ImportView.of(row) for row in rows]
    return {
        "viewer": viewer,
        "dataset": dataset,
        "kind": kind_of(dataset.kind),
        "imports": imports,
        "live": any(not one.ended for one in imports),
        "here": here + (f"?{urlencode({'cursor': cursor})}" if cursor else ""),
        "first": here if cursor else "",
        "older": f"{here}?{urlencode({'cursor': following})}" if following else "",
        "form": Form(),
        "import_words": {
            "queued": pages.say(request, "Waiting"),
            "running": pages.say(request, "Running"),
            "completed": pages.say(request, "Completed"),
            "failed": pages.say(request, "Failed"),
            "cancelled": pages.say(request, "Cancelled"),
        },
        "api_example": API_EXAMPLE.format(base=str(request.base_url).rstrip("/"), dataset=dataset.id),
        "cli_example": CLI_EXAMPLE.format(name=dataset.name),
    }


@router.post("/data/{dataset_id}/imports", dependencies=[FromOurPage])
def start_import(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, dataset_id: str, typed: Typed
) -> Response:
    """Start an import, or show the form again with what is wrong; secrets are not shown again."""
    viewer.require("write")
    form = parse(ImportCreate, typed)
    if wanted := form.request:
        try:
            with back.tenant(viewer) as session:
                made = service.start_import(
                    session,
                    viewer,
                    parse_id(dataset_id),
                    wanted,
                    vault=back.security.vault,
                    settings=back.settings.imports,
                )
            said = pages.say(request, "%(name)s is being fetched.", name=made.file_name)
            return flash.go_on(request, f"/data/{dataset_id}/imports", said)
        except DomainError as error:
            form.refuse(error)
    form.values = {name: text for name, text in form.values.items() if name not in SECRETS}
    context = _listed(request, back, viewer, pages, dataset_id) | {"form": form}
    shown = framed(platform, **context)
    return pages.respond(request, "data/imports.html", shown, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


@router.post("/data/imports/{import_id}/cancel", dependencies=[FromOurPage])
def cancel_import(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, import_id: str) -> Response:
    """Ask for the end of an import."""
    viewer.require("write")
    with back.tenant(viewer) as session:
        row = service.cancel_import(session, viewer, parse_id(import_id))
        said = pages.say(request, "The import of %(name)s is being cancelled.", name=row.file_name)
        address = f"/data/{row.dataset_id}/imports"
    return flash.go_on(request, address, said)
