"""Datasets: the list, a new one, one dataset's page, its words and its end. Files and uploads: `uploads`."""

from collections.abc import Mapping
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
from frontend.backstage import Backstage
from frontend.figures import Figure, FigureSeries, document
from frontend.forms import Form, Typed, parse, typed_lines
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Back, Chosen, Desk, FromOurPage, LoggedIn, Pages, Services, TypedCount, framed
from frontend.services import parse_id
from frontend.views.data import Contents, DatasetView, UploadView, VersionView, available, kind_of

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
Listed = Annotated[
    Listing, Depends(Lists("text", "project", "kind", sorts=("name", "created_at"), usual="-created_at"))
]


def examples(desk: Desk, *, project: str = "", project_name: str = "", kind: str = "image") -> dict[str, Any]:
    """The same act over the API and from the command line."""
    named = {"name": "first-dataset", "kind": kind, "project": project or "…", "project_name": project_name or "…"}
    return {"api_example": API_EXAMPLE.format(base=desk.base, **named), "cli_example": CLI_EXAMPLE.format(**named)}


@router.get("/data")
def list_datasets(desk: AtDesk, listing: Listed) -> Response:
    """The datasets, newest first; for htmx, the table alone."""
    where: dict[str, Any] = {"project_id": listing.id("project")}
    where |= {name: listing[name] or None for name in ("kind", "text")}
    with desk.session() as session:
        rows, following = service.search_datasets(session, desk.scope, listing.page(PAGE_SIZE), **where)
        counts = service.count_files(session, desk.scope, [row.id for row in rows])
        found = _views(session, desk.viewer, rows, counts)
    context = examples(desk, project=listing["project"]) | {"datasets": found, "kinds": available()}
    return desk.show_list("data/list.html", "datasets", listing, following, **context)


@router.post("/data/delete", dependencies=[FromOurPage])
def delete_datasets(desk: AtDesk, chosen: Chosen, typed: TypedCount = "") -> Response:
    """Delete the chosen datasets: those without versions, whose number was typed."""
    desk.viewer.require("write")
    desk.counted(chosen, typed)

    def name(session: Session, dataset_id: UUID) -> str:
        return service.get_dataset(session, desk.scope, dataset_id).name

    def delete(dataset_id: UUID) -> None:
        _delete(desk, dataset_id)

    done = desk.each(chosen, name=name, act=delete, done=desk.say("It was deleted."))
    return desk.show_outcomes(done, "/data")


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
def new_dataset(desk: AtDesk, project: Word = "") -> Response:
    """The form of a new dataset, in the project that the address names."""
    desk.viewer.require("write")
    return _creation(desk, Form(values={"project_id": project} if project else {}))


@router.post("/data/new", dependencies=[FromOurPage])
def create_dataset(desk: AtDesk, typed: Typed) -> Response:
    """Create a dataset, or show the form again with what is wrong."""
    desk.viewer.require("write")
    form = parse(DatasetCreate, typed)
    made = desk.take(form, lambda session, wanted: service.create_dataset(session, desk.viewer, wanted).id)
    if made is None:
        return _creation(desk, form)
    said = desk.say("Dataset %(name)s was created. Now upload its files.", name=typed["name"].strip())
    return desk.go_on(f"/data/{made}", said)


def _creation(desk: Desk, form: Form[DatasetCreate]) -> Response:
    every = desk.platform.shell(desk.viewer).projects
    named = [one for one in every if one.id == form.values.get("project_id")] or list(every[:1])
    shown = examples(desk, project=named[0].id, project_name=named[0].name) if named else examples(desk)
    return desk.show_form("data/new.html", form, kinds=available(), **shown)


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
def edit_dataset(desk: AtDesk, dataset_id: str) -> Response:
    """The form of a dataset's description and tags, and its end."""
    desk.viewer.require("write")
    return _settings(desk, dataset_id, Form())


@router.post("/data/{dataset_id}/edit", dependencies=[FromOurPage])
def update_dataset(desk: AtDesk, dataset_id: str, typed: Typed) -> Response:
    """Change description and tags to what the form says; an emptied field empties them."""
    desk.viewer.require("write")
    form = parse(DatasetUpdate, typed)
    wanted = form.request
    if wanted is None:
        return _settings(desk, dataset_id, form)
    words, tags = wanted.description or "", wanted.tags or {}
    target = (wanted.target_column or "") if "target_column" in typed else None
    try:
        with desk.session() as session:
            changed = service.update_dataset(
                session, desk.viewer, parse_id(dataset_id), description=words, tags=tags, target_column=target
            )
            said = desk.say("Dataset %(name)s was changed.", name=changed.name)
    except TargetInvalid as error:
        form.errors["target_column"] = f"{error.detail[:1].upper()}{error.detail[1:]}."
        return _settings(desk, dataset_id, form)
    return desk.go_on(f"/data/{dataset_id}", said)


@router.post("/data/{dataset_id}/delete", dependencies=[FromOurPage])
def delete_dataset(desk: AtDesk, dataset_id: str, typed: Typed) -> Response:
    """Delete a dataset without versions whose name was typed."""
    desk.viewer.require("write")
    refused: Form[DatasetUpdate] = Form()
    with desk.session() as session:
        dataset = service.get_dataset(session, desk.scope, parse_id(dataset_id))
        key, name = dataset.id, dataset.name
    try:
        if typed.get("typed", "").strip() == name:
            _delete(desk, key)
            return desk.go_on("/data", desk.say("Dataset %(name)s was deleted.", name=name))
        refused.errors[""] = desk.say("Nothing was deleted: the name typed was not %(name)s.", name=name)
    except DomainError as error:
        refused.refuse(error)
    return _settings(desk, dataset_id, refused)


def _delete(desk: Desk, dataset_id: UUID) -> None:
    """Delete it, then what its open uploads left in storage."""
    with desk.session() as session:
        ended = service.delete_dataset(session, desk.viewer, dataset_id)
    for upload_id in ended:
        service.remove_parts(desk.back.storage, desk.scope, upload_id)


def _settings(desk: Desk, dataset_id: str, form: Form[DatasetUpdate]) -> Response:
    with desk.session() as session:
        dataset = dataset_view(session, desk.viewer, dataset_id)
        files = service.count_files(session, desk.scope, [UUID(dataset.id)]).get(UUID(dataset.id), 0)
    form.values = form.values or {
        "description": dataset.description,
        "tags:lines": typed_lines(dataset.tags),
        "target_column": dataset.target_column or "",
    }
    return desk.show_form("data/edit.html", form, dataset=dataset, file_count=files)
