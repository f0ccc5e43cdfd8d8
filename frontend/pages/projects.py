"""Projects: the list, a new one, one project's page with its description, tags and end."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backend.core.errors import DomainError
from backend.projects import service
from backend.projects.repository import COUNTED
from backend.projects.schemas import ProjectCreate, ProjectUpdate
from frontend.forms import Form, Typed, parse, typed_lines
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Desk, FromOurPage
from frontend.services import parse_id
from frontend.views.projects import ProjectView

router = APIRouter()

PAGE_SIZE = 50
API_EXAMPLE = """curl {base}/api/v1/projects \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"name": "first-project", "description": "…"}}'"""
CLI_EXAMPLE = 'modelyard projects create first-project --description "…"'

Listed = Annotated[Listing, Depends(Lists("text", sorts=("name", "created_at"), usual="-created_at"))]


def examples(desk: Desk) -> dict[str, Any]:
    """The same act over the API and from the command line."""
    return {"api_example": API_EXAMPLE.format(base=desk.base), "cli_example": CLI_EXAMPLE}


@router.get("/projects")
def list_projects(desk: AtDesk, listing: Listed) -> Response:
    """The organization's projects, newest first; for htmx, the table alone."""
    with desk.session() as session:
        rows, following = service.list_projects(
            session, desk.scope, listing.page(PAGE_SIZE), text=listing["text"] or None
        )
        found = [ProjectView.of(row) for row in rows]
    return desk.show_list("projects/list.html", "projects", listing, following, projects=found, **examples(desk))


@router.get("/projects/new")
def new_project(desk: AtDesk) -> Response:
    """The form of a new project."""
    desk.viewer.require("write")
    return desk.show_form("projects/new.html", Form(), **examples(desk))


@router.post("/projects/new", dependencies=[FromOurPage])
def create_project(desk: AtDesk, typed: Typed) -> Response:
    """Create a project, or show the form again with what is wrong."""
    desk.viewer.require("write")
    form = parse(ProjectCreate, typed)
    made = desk.take(form, lambda session, wanted: service.create_project(session, desk.viewer, **dict(wanted)).id)
    if made is None:
        return desk.show_form("projects/new.html", form, **examples(desk))
    return desk.go_on(f"/projects/{made}", desk.say("Project %(name)s was created.", name=typed["name"].strip()))


@router.get("/projects/{project_id}")
def show_project(desk: AtDesk, project_id: str) -> Response:
    """What is in a project, and the form that changes it."""
    return _project(desk, project_id, Form())


@router.post("/projects/{project_id}", dependencies=[FromOurPage])
def update_project(desk: AtDesk, project_id: str, typed: Typed) -> Response:
    """Change description and tags to what the form says; an emptied field empties them."""
    desk.viewer.require("write")
    form = parse(ProjectUpdate, typed)
    wanted = form.request
    if wanted is None:
        return _project(desk, project_id, form)
    with desk.session() as session:
        words, tags = wanted.description or "", wanted.tags or {}
        changed = service.update_project(session, desk.viewer, parse_id(project_id), description=words, tags=tags)
        said = desk.say("Project %(name)s was changed.", name=changed.name)
    return desk.go_on(f"/projects/{project_id}", said)


def _project(desk: Desk, project_id: str, form: Form[ProjectUpdate]) -> Response:
    with desk.session() as session:
        row = service.get_project(session, desk.scope, parse_id(project_id))
        project, contents = ProjectView.of(row), service.count_contents(session, desk.scope, row.id)
    form.values = form.values or {"description": project.description, "tags:lines": typed_lines(project.tags)}
    return desk.show_form("projects/project.html", form, project=project, contents=contents, counted=COUNTED)


@router.post("/projects/{project_id}/delete", dependencies=[FromOurPage])
def delete_project(desk: AtDesk, project_id: str, typed: Typed) -> Response:
    """Delete an empty project whose name was typed."""
    desk.viewer.require("write")
    form: Form[ProjectUpdate] = Form()
    with desk.session() as session:
        name = service.get_project(session, desk.scope, parse_id(project_id)).name
    try:
        if typed.get("typed", "").strip() == name:
            with desk.session() as session:
                service.delete_project(session, desk.viewer, parse_id(project_id))
            return desk.go_on("/projects", desk.say("Project %(name)s was deleted.", name=name))
        form.errors[""] = desk.say("Nothing was deleted: the name typed was not %(name)s.", name=name)
    except DomainError as error:
        form.refuse(error)
    return _project(desk, project_id, form)
