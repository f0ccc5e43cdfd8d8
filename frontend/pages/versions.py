"""One dataset version: its splits and classes, its files, its tags, and what differs from another version."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.pagination import MAX_LIMIT, PageRequest
from backend.datasets import service
from backend.datasets.comparison import CHANGES, Change
from backend.datasets.errors import DatasetVersionNotFound
from backend.datasets.models import DatasetVersion
from backend.datasets.preview_schemas import TabularPreview
from backend.datasets.schemas import VersionUpdate
from backend.datasets.tablechanges import TableChanges, compare_tables
from frontend import flash
from frontend.backstage import Backstage
from frontend.figures import FigureSeries, document
from frontend.forms import Form, Typed, parse, typed_lines
from frontend.pages.common import AtDesk, Back, Desk, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.pages.data import LABELS_DRAWN, classes_figure, dataset_view
from frontend.pages.uploads import FILES_PER_PAGE, content_response
from frontend.services import parse_id
from frontend.views.data import FileView, VersionView, class_changes

router = APIRouter()

Word = Annotated[str, Query(max_length=200)]
Place = Annotated[str, Query(max_length=18)]
LABELS_LISTED = 500
API_EXAMPLE = """curl "{base}/api/v1/dataset-versions/{version}/files?limit=100" \\
  -H "Authorization: Bearer $MODELYARD_API_KEY\""""
CLI_EXAMPLE = "modelyard datasets versions {name}"


def _load(back: Backstage, viewer: Principal, version_id: str) -> tuple[DatasetVersion, dict[str, Any]]:
    """A version, and what each of its pages shows. Raises DatasetVersionNotFound."""
    with back.tenant(viewer) as session:
        row = service.get_version(session, viewer.scope, parse_id(version_id))
        dataset = dataset_view(session, viewer, str(row.dataset_id))
    version = VersionView.of(row)
    return row, {"version": version, "dataset": dataset, "labels": list(version.classes)[:LABELS_LISTED]}


@router.get("/data/versions/{version_id}")
def show_version(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    version_id: str,
    split: Word = "",
    label: Word = "",
    cursor: Place = "",
) -> Response:
    """A version's splits and class balance, and a page of its files, of one split and label or of all."""
    row, context = _load(back, viewer, version_id)
    return _show(request, viewer, pages, platform, back, row, context, split=split, label=label, cursor=cursor)


def _show(
    request: Request,
    viewer: Principal,
    pages: Pages,
    platform: Services,
    back: Backstage,
    row: DatasetVersion,
    context: dict[str, Any],
    *,
    split: str = "",
    label: str = "",
    cursor: str = "",
    form: Form[VersionUpdate] | None = None,
) -> Response:
    page = PageRequest(limit=FILES_PER_PAGE, cursor=cursor or None)
    rows, following = service.list_files(back.storage, row, page, split=split or None, label=label or None)
    here = {"split": split, "label": label}
    shown = framed(
        platform,
        viewer,
        **context,
        files=[FileView.in_version(str(row.id), one) for one in rows],
        preview=None
        if row.kind == "image"
        else service.preview_version(back.database, back.storage, viewer.scope, row.id),
        split=split,
        label=label,
        first=_address(row.id, here) if cursor else "",
        older=_address(row.id, {**here, "cursor": following}) if following else "",
        form=form or Form(values={"tags:lines": typed_lines(row.tags)}),
        api_example=API_EXAMPLE.format(base=str(request.base_url).rstrip("/"), version=row.id),
        cli_example=CLI_EXAMPLE.format(name=context["dataset"].name),
    )
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form else HTTPStatus.OK
    return pages.respond(request, "data/version.html", shown, status_code=code)


def _address(version_id: UUID, parameters: dict[str, str], tail: str = "") -> str:
    given = {name: value for name, value in parameters.items() if value}
    return f"/data/versions/{version_id}{tail}" + (f"?{urlencode(given)}" if given else "")


@router.get("/data/versions/{version_id}/classes.json")
def draw_classes(request: Request, viewer: LoggedIn, pages: Pages, back: Back, version_id: str) -> Response:
    """Class balance per split, for the chart's script."""
    with back.tenant(viewer) as session:
        version = VersionView.of(service.get_version(session, viewer.scope, parse_id(version_id)))
    totals = {label: sum(counts.values()) for label, counts in version.classes.items()}
    ordered = dict(sorted(totals.items(), key=lambda one: (-one[1], one[0])))
    drawn = list(ordered)[:LABELS_DRAWN]
    names = {"train": "Train", "validation": "Validation", "test": "Test"}
    series = [
        FigureSeries(name=pages.say(request, name), values=[version.classes[label].get(split, 0) for label in drawn])
        for split, name in names.items()
        if version.splits.get(split)
    ]
    return Response(document(classes_figure(request, pages, ordered, series)), media_type="application/json")


@router.get("/data/versions/{version_id}/files/{sha256}")
def read_file(
    request: Request,
    *,
    viewer: LoggedIn,
    back: Back,
    version_id: str,
    sha256: str,
    download: bool = False,
) -> Response:
    """The content of one file of a version. Raises FileNotInVersion."""
    with back.tenant(viewer) as session:
        version = service.get_version(session, viewer.scope, parse_id(version_id))
    file = service.find_in_version(back.storage, version, sha256)
    return content_response(
        request,
        back.storage.stream_blob(viewer.organization_id, file.sha256),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        path=file.path,
        download=download,
    )


@router.post("/data/versions/{version_id}/tags", dependencies=[FromOurPage])
def tag_version(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, version_id: str, typed: Typed
) -> Response:
    """Replace a version's tags; nothing else of it ever changes."""
    viewer.require("write")
    form = parse(VersionUpdate, {"tags:lines": typed.get("tags:lines", "")} if typed.get("tags:lines") else {})
    wanted = VersionUpdate(tags={}) if not typed.get("tags:lines", "").strip() else form.request
    if wanted is None:
        row, context = _load(back, viewer, version_id)
        return _show(request, viewer, pages, platform, back, row, context, form=form)
    with back.tenant(viewer) as session:
        number = service.tag_version(session, viewer, parse_id(version_id), wanted.tags).number
    said = pages.say(request, "The tags of version %(number)s were changed.", number=number)
    return flash.go_on(request, f"/data/versions/{version_id}", said)


@router.get("/data/versions/{version_id}/compare")
def compare(
    desk: AtDesk,
    version_id: str,
    against: Word = "",
    change: Change = "added",
    cursor: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Response:
    """What differs from another version of the dataset, by default from the one before."""
    row, context = _load(desk.back, desk.viewer, version_id)
    with desk.session() as session:
        others, _ = service.list_versions(session, desk.scope, row.dataset_id, PageRequest(limit=MAX_LIMIT))
        others = [one for one in others if one.id != row.id]
        earlier = [one for one in others if one.number < row.number]
        other = service.get_version(session, desk.scope, parse_id(against)) if against else None
    if other is not None and other.dataset_id != row.dataset_id:
        raise DatasetVersionNotFound(f"this dataset has no version {against}")
    other = other or next(iter([*earlier, *others]), None)
    context |= {"others": [VersionView.of(one) for one in others], "other": None, "change": change}
    if other is not None and row.kind == "tabular":
        context |= {"other": VersionView.of(other), "table": _tables(desk, row, other)}
    elif other is not None:
        context |= _compared(desk.back, row, other, change, cursor)
    template = "data/compare_tables.html" if row.kind == "tabular" else "data/compare.html"
    return desk.show(template, **context)


def _tables(desk: Desk, version: DatasetVersion, other: DatasetVersion) -> TableChanges:
    """Rows and columns of two versions of a table, from `other` to `version`."""
    before, after = (
        service.preview_version(desk.back.database, desk.back.storage, desk.scope, one.id) for one in (other, version)
    )
    if not isinstance(before, TabularPreview) or not isinstance(after, TabularPreview):
        raise TypeError("a version of a table has the preview of a table")
    return compare_tables(before, after)


def _compared(
    back: Backstage, version: DatasetVersion, other: DatasetVersion, change: Change, offset: int
) -> dict[str, Any]:
    """Counts by change, classes, and a page of the files that changed so; from `other` to `version`."""
    comparison = service.compare_versions(back.storage, other, version)
    holder = other if change == "removed" else version
    rows = comparison.page(change, offset=offset, limit=FILES_PER_PAGE)
    following = offset + FILES_PER_PAGE
    here = {"against": str(other.id), "change": change}
    more = following < comparison.count(change)
    return {
        "other": VersionView.of(other),
        "counts": {one: comparison.count(one) for one in CHANGES},
        "classes": class_changes(VersionView.of(other), VersionView.of(version)),
        "files": [FileView.changed(str(holder.id), one) for one in rows],
        "first": _address(version.id, here, "/compare") if offset else "",
        "older": _address(version.id, {**here, "cursor": str(following)}, "/compare") if more else "",
    }
