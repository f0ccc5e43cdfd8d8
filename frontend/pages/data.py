"""Datasets: the list, a new one, one dataset's page, its words and its end. Files and uploads: `uploads`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.pagination import PageRequest
from backend.datasets import service
from backend.datasets.errors import TargetInvalid
from backend.datasets.models import Dataset
from backend.datasets.schemas import DatasetCreate, DatasetUpdate
from backend.projects import service as projects
from frontend import flash
from frontend.backstage import Backstage
from frontend.figures import Figure, FigureSeries, document
from frontend.forms import Form, Typed, parse, typed_lines
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views.data import Contents, DatasetQuery, DatasetView, UploadView, VersionView, available, kind_of

router = APIRouter()

PAGE_SIZE = 25
RECENT = 5
OPEN_SHOWN = 20
LABELS_DRAWN = 60
API_EXAMPLE = """curl {base}/api/v1/datasets \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"project_id": "{project}", "name": "{name}", "kind": "{kind}"}}'"""
CLI_EXAMPLE = """modelyard datasets create {name} --project {project_name} --kind {kind}
modelyard datasets upload {name} ./{name}.zip"""

Word = Annotated[str, Query(max_length=200)]
Cursor = Annotated[str, Query(max_length=2000)]


def read_query(text: Word = "", project: Word = "", kind: Word = "", cursor: Cursor = "") -> DatasetQuery:
    """Filters from the URL."""
    return DatasetQuery(text=text.strip(), project=project, kind=kind, cursor=cursor)


def examples(request: Request, *, project: str = "", project_name: str = "", kind: str = "image") -> dict[str, str]:
    """The same act over the API and from the command line."""
    named = {"name": "first-dataset", "kind": kind, "project": project or "…", "project_name": project_name or "…"}
    base = str(request.base_url).rstrip("/")
    return {"api_example": API_EXAMPLE.format(base=base, **named), "cli_example": CLI_EXAMPLE.format(**named)}


@router.get("/data")
def list_datasets(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    query: Annotated[DatasetQuery, Depends(read_query)],
) -> Response:
    """The datasets, newest first; for htmx, the table alone."""
    page = PageRequest(limit=PAGE_SIZE, cursor=query.cursor or None)
    with back.tenant(viewer) as session:
        rows, following = service.search_datasets(
            session,
            viewer.scope,
            page,
            project_id=parse_id(query.project) if query.project else None,
            kind=query.kind or None,
            text=query.text or None,
        )
        found = _views(session, viewer, rows, service.count_files(session, viewer.scope, [row.id for row in rows]))
    context: dict[str, Any] = {
        "query": query,
        "datasets": found,
        "first": query.address() if query.cursor else "",
        "older": query.address(following) if following else "",
        "kinds": available(),
        "viewer": viewer,
        **examples(request, project=query.project),
    }
    if "HX-Request" not in request.headers:
        return pages.respond(request, "data/list.html", framed(platform, **context))
    response = pages.respond(request, "data/list.html", context, block="datasets")
    response.headers["HX-Push-Url"] = query.address()
    return response


def _views(
    session: Session, viewer: Principal, rows: list[Dataset], counts: Mapping[UUID, int | None]
) -> list[DatasetView]:
    """Rows with their project's name, how many files they hold, and their newest version."""
    newest = service.newest_versions(session, viewer.scope, [row.id for row in rows])
    names = {
        project_id: projects.get_project(session, viewer.scope, project_id).name
        for project_id in {row.project_id for row in rows}
    }
    return [
        DatasetView.of(
            row, project_name=names[row.project_id], file_count=counts.get(row.id, 0), newest=newest.get(row.id)
        )
        for row in rows
    ]


def dataset_view(session: Session, viewer: Principal, dataset_id: str) -> DatasetView:
    """One dataset, its files not counted. Raises DatasetNotFound, RouteNotFound."""
    row = service.get_dataset(session, viewer.scope, parse_id(dataset_id))
    return _views(session, viewer, [row], {row.id: None})[0]


# --- a new one ---


@router.get("/data/new")
def new_dataset(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, project: Word = "") -> Response:
    """The form of a new dataset, in the project that the address names."""
    viewer.require("write")
    return _creation(request, viewer, pages, platform, Form(values={"project_id": project} if project else {}))


@router.post("/data/new", dependencies=[FromOurPage])
def create_dataset(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Create a dataset, or show the form again with what is wrong."""
    viewer.require("write")
    form = parse(DatasetCreate, typed)
    if wanted := form.request:
        try:
            with back.tenant(viewer) as session:
                made = service.create_dataset(session, viewer, wanted).id
            said = pages.say(request, "Dataset %(name)s was created. Now upload its files.", name=wanted.name)
            return flash.go_on(request, f"/data/{made}", said)
        except DomainError as error:
            form.refuse(error)
    return _creation(request, viewer, pages, platform, form)


def _creation(
    request: Request, viewer: Principal, pages: Pages, platform: Services, form: Form[DatasetCreate]
) -> Response:
    frame = framed(platform, viewer)
    chosen = [one for one in frame["shell"].projects if one.id == form.values.get("project_id")]
    named = chosen or list(frame["shell"].projects[:1])
    shown = examples(request, project=named[0].id, project_name=named[0].name) if named else examples(request)
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(
        request, "data/new.html", {**frame, "form": form, "kinds": available(), **shown}, status_code=code
    )


# --- one dataset ---


@router.get("/data/{dataset_id}")
def show_dataset(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    dataset_id: str,
    files: int | None = None,
) -> Response:
    """What a dataset holds, what was uploaded last, its versions; for htmx, the parts that an upload changes.

    `files`: how many the page shows; the chart is drawn again only where there are others.
    """
    context = overview(back, viewer, dataset_id)
    if "HX-Request" in request.headers:
        return pages.respond(request, "data/live.html", {**context, "files": files})
    return pages.respond(request, "data/dataset.html", framed(platform, **context))


def overview(back: Backstage, viewer: Principal, dataset_id: str) -> dict[str, Any]:
    """What the dataset's page shows."""
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        key, page = UUID(dataset.id), PageRequest(limit=RECENT)
        totals = service.count_dataset(session, viewer.scope, key)
        uploads, more_uploads = service.list_uploads(session, viewer.scope, key, page)
        waiting = service.open_uploads(session, viewer.scope, key, limit=OPEN_SHOWN)
        versions, more_versions = service.list_versions(session, viewer.scope, key, page)
    preview = None
    if dataset.kind != "image":
        preview = service.preview_dataset(back.database, back.storage, viewer.scope, key)
    stored = {upload.id: count for upload, count in waiting}
    return {
        "viewer": viewer,
        "dataset": dataset,
        "kind": kind_of(dataset.kind),
        "contents": Contents.of(totals),
        "preview": preview,
        "uploads": [UploadView.of(row, stored.get(row.id)) for row in uploads],
        "more_uploads": bool(more_uploads),
        "waiting": [UploadView.of(row, count) for row, count in waiting],
        "versions": [VersionView.of(row) for row in versions],
        "more_versions": bool(more_versions),
    }


@router.get("/data/{dataset_id}/classes.json")
def draw_classes(request: Request, viewer: LoggedIn, pages: Pages, back: Back, dataset_id: str) -> Response:
    """Class balance of what the dataset holds now, for the chart's script."""
    with back.tenant(viewer) as session:
        key = service.get_dataset(session, viewer.scope, parse_id(dataset_id)).id
        contents = Contents.of(service.count_dataset(session, viewer.scope, key))
    figure = classes_figure(
        request,
        pages,
        dict(contents.labels),
        [FigureSeries(name=pages.say(request, "Files"), values=[count for _, count in contents.labels[:LABELS_DRAWN]])],
    )
    return Response(document(figure), media_type="application/json")


def classes_figure(request: Request, pages: Pages, counts: dict[str, int], series: list[FigureSeries]) -> Figure:
    """Bars per label. `counts`: files per label, the most numerous first; `series` as long as what is drawn."""
    note = ""
    if counts:
        largest, smallest = next(iter(counts)), next(reversed(counts))
        note = pages.say(
            request,
            "%(labels)s labels; most files: %(largest)s (%(most)s), fewest: %(smallest)s (%(fewest)s).",
            labels=len(counts),
            largest=largest,
            most=f"{counts[largest]:,}",
            smallest=smallest,
            fewest=f"{counts[smallest]:,}",
        )
    if len(counts) > LABELS_DRAWN:
        note += " " + pages.say(request, "The %(drawn)s largest are drawn.", drawn=LABELS_DRAWN)
    return Figure(kind="bars", unit="count", x=list(counts)[:LABELS_DRAWN], series=series, note=note)


@router.get("/data/{dataset_id}/edit")
def edit_dataset(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, dataset_id: str
) -> Response:
    """The form of a dataset's description and tags, and its end."""
    viewer.require("write")
    return _settings(request, viewer, pages, platform, back, dataset_id)


@router.post("/data/{dataset_id}/edit", dependencies=[FromOurPage])
def update_dataset(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, dataset_id: str, typed: Typed
) -> Response:
    """Change description and tags to what the form says; an emptied field empties them."""
    viewer.require("write")
    form = parse(DatasetUpdate, typed)
    wanted = form.request
    if wanted is None:
        return _settings(request, viewer, pages, platform, back, dataset_id, form)
    words, tags = wanted.description or "", wanted.tags or {}
    target = (wanted.target_column or "") if "target_column" in typed else None
    try:
        with back.tenant(viewer) as session:
            changed = service.update_dataset(
                session, viewer, parse_id(dataset_id), description=words, tags=tags, target_column=target
            )
            said = pages.say(request, "Dataset %(name)s was changed.", name=changed.name)
    except TargetInvalid as error:
        form.errors["target_column"] = f"{error.detail[:1].upper()}{error.detail[1:]}."
        return _settings(request, viewer, pages, platform, back, dataset_id, form)
    return flash.go_on(request, f"/data/{dataset_id}", said)


@router.post("/data/{dataset_id}/delete", dependencies=[FromOurPage])
def delete_dataset(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, dataset_id: str, typed: Typed
) -> Response:
    """Delete a dataset without versions whose name was typed."""
    viewer.require("write")
    refused: Form[DatasetUpdate] = Form()
    with back.tenant(viewer) as session:
        dataset = service.get_dataset(session, viewer.scope, parse_id(dataset_id))
        key, name = dataset.id, dataset.name
    try:
        if typed.get("typed", "").strip() == name:
            with back.tenant(viewer) as session:
                ended = service.delete_dataset(session, viewer, key)
            for upload_id in ended:
                service.remove_parts(back.storage, viewer.scope, upload_id)
            return flash.go_on(request, "/data", pages.say(request, "Dataset %(name)s was deleted.", name=name))
        refused.errors[""] = pages.say(request, "Nothing was deleted: the name typed was not %(name)s.", name=name)
    except DomainError as error:
        refused.refuse(error)
    return _settings(request, viewer, pages, platform, back, dataset_id, refused)


def _settings(
    request: Request,
    viewer: Principal,
    pages: Pages,
    platform: Services,
    back: Backstage,
    dataset_id: str,
    form: Form[DatasetUpdate] | None = None,
) -> Response:
    with back.tenant(viewer) as session:
        dataset = dataset_view(session, viewer, dataset_id)
        files = service.count_files(session, viewer.scope, [UUID(dataset.id)]).get(UUID(dataset.id), 0)
    form = form or Form()
    form.values = form.values or {
        "description": dataset.description,
        "tags:lines": typed_lines(dataset.tags),
        "target_column": dataset.target_column or "",
    }
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    context = framed(platform, viewer, dataset=dataset, file_count=files, form=form)
    return pages.respond(request, "data/edit.html", context, status_code=code)
