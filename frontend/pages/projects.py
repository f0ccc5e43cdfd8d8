"""Projects: the list, a new one, one project's page with its description, tags and end."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.pagination import PageRequest
from backend.projects import service
from backend.projects.repository import COUNTED
from backend.projects.schemas import ProjectCreate, ProjectUpdate
from frontend import flash
from frontend.backstage import Backstage
from frontend.forms import Form, Typed, parse, typed_lines
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views.projects import ProjectView

router = APIRouter()

PAGE_SIZE = 50
API_EXAMPLE = """curl {base}/api/v1/projects \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"name": "first-project", "description": "…"}}'"""
CLI_EXAMPLE = 'modelyard projects create first-project --description "…"'

Cursor = Annotated[str, Query(max_length=2000)]
Word = Annotated[str, Query(max_length=200)]


def examples(request: Request) -> dict[str, str]:
    """The same act over the API and from the command line."""
    return {"api_example": API_EXAMPLE.format(base=str(request.base_url).rstrip("/")), "cli_example": CLI_EXAMPLE}


@router.get("/projects")
def list_projects(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    text: Word = "",
    cursor: Cursor = "",
) -> Response:
    """The organization's projects, newest first; for htmx, the table alone."""
    page = PageRequest(limit=PAGE_SIZE, cursor=cursor or None)
    words = text.strip()
    with back.tenant(viewer) as session:
        rows, following = service.list_projects(session, viewer.scope, page, text=words or None)
        found = [ProjectView.of(row) for row in rows]
    context = {
        "projects": found,
        "text": words,
        "first": _address(words) if cursor else "",
        "older": _address(words, following) if following else "",
        **examples(request),
    }
    if "HX-Request" not in request.headers:
        return pages.respond(request, "projects/list.html", framed(platform, viewer, **context))
    response = pages.respond(request, "projects/list.html", {"viewer": viewer, **context}, block="projects")
    response.headers["HX-Push-Url"] = _address(words)
    return response


def _address(text: str, cursor: str = "") -> str:
    given = {name: value for name, value in (("text", text), ("cursor", cursor)) if value}
    return "/projects" + (f"?{urlencode(given)}" if given else "")


@router.get("/projects/new")
def new_project(request: Request, viewer: LoggedIn, pages: Pages, platform: Services) -> Response:
    """The form of a new project."""
    viewer.require("write")
    context = framed(platform, viewer, form=Form(), **examples(request))
    return pages.respond(request, "projects/new.html", context)


@router.post("/projects/new", dependencies=[FromOurPage])
def create_project(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Create a project, or show the form again with what is wrong."""
    viewer.require("write")
    form = parse(ProjectCreate, typed)
    if wanted := form.request:
        try:
            with back.tenant(viewer) as session:
                made = service.create_project(
                    session, viewer, name=wanted.name, description=wanted.description, tags=wanted.tags
                )
                path = f"/projects/{made.id}"
            return flash.go_on(request, path, pages.say(request, "Project %(name)s was created.", name=wanted.name))
        except DomainError as error:
            form.refuse(error)
    context = framed(platform, viewer, form=form, **examples(request))
    return pages.respond(request, "projects/new.html", context, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


@router.get("/projects/{project_id}")
def show_project(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, project_id: str
) -> Response:
    """What is in a project, and the form that changes it."""
    context = _project_context(back, viewer, project_id)
    project: ProjectView = context["project"]
    context["form"] = Form(values={"description": project.description, "tags:lines": typed_lines(project.tags)})
    return pages.respond(request, "projects/project.html", framed(platform, viewer, **context))


@router.post("/projects/{project_id}", dependencies=[FromOurPage])
def update_project(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, project_id: str, typed: Typed
) -> Response:
    """Change description and tags to what the form says; an emptied field empties them."""
    viewer.require("write")
    form = parse(ProjectUpdate, typed)
    if wanted := form.request:
        with back.tenant(viewer) as session:
            changed = service.update_project(
                session,
                viewer,
                parse_id(project_id),
                description=wanted.description or "",
                tags=wanted.tags or {},
            )
            said = pages.say(request, "Project %(name)s was changed.", name=changed.name)
        return flash.go_on(request, f"/projects/{project_id}", said)
    context = framed(platform, viewer, form=form, **_project_context(back, viewer, project_id))
    return pages.respond(request, "projects/project.html", context, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


def _project_context(back: Backstage, viewer: Principal, project_id: str) -> dict[str, Any]:
    with back.tenant(viewer) as session:
        project = service.get_project(session, viewer.scope, parse_id(project_id))
        contents = service.count_contents(session, viewer.scope, project.id)
        return {"project": ProjectView.of(project), "contents": contents, "counted": COUNTED}


@router.post("/projects/{project_id}/delete", dependencies=[FromOurPage])
def delete_project(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, project_id: str, typed: Typed
) -> Response:
    """Delete an empty project whose name was typed."""
    viewer.require("write")
    form: Form[ProjectUpdate] = Form()
    with back.tenant(viewer) as session:
        name = service.get_project(session, viewer.scope, parse_id(project_id)).name
    try:
        if typed.get("typed", "").strip() == name:
            with back.tenant(viewer) as session:
                service.delete_project(session, viewer, parse_id(project_id))
            return flash.go_on(request, "/projects", pages.say(request, "Project %(name)s was deleted.", name=name))
        form.errors[""] = pages.say(request, "Nothing was deleted: the name typed was not %(name)s.", name=name)
    except DomainError as error:
        form.refuse(error)
    context = _project_context(back, viewer, project_id)
    project: ProjectView = context["project"]
    form.values = {"description": project.description, "tags:lines": typed_lines(project.tags)}
    answer = framed(platform, viewer, form=form, **context)
    return pages.respond(request, "projects/project.html", answer, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)
