"""REST routes of projects."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from backend.core.http import Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.projects import service
from backend.projects.errors import ProjectNameTaken, ProjectNotEmpty, ProjectNotFound
from backend.projects.schemas import ProjectCreate, ProjectRead, ProjectUpdate

router = APIRouter(prefix="/api/v1/projects", tags=["projects"])


@router.post("", status_code=status.HTTP_201_CREATED, responses=raises(ProjectNameTaken))
def create_project(body: ProjectCreate, principal: Writer, session: Transaction) -> ProjectRead:
    """Create a project. 409 `project_name_taken`."""
    project = service.create_project(session, principal, name=body.name, description=body.description, tags=body.tags)
    return ProjectRead.model_validate(project)


@router.get("")
def list_projects(
    principal: Reader,
    session: Transaction,
    page: PageParameters,
    name: Annotated[str | None, Query(max_length=63, description="only the project of this name")] = None,
) -> Page[ProjectRead]:
    """List projects, newest first."""
    rows, cursor = service.list_projects(session, principal.scope, page, name=name)
    return Page(items=[ProjectRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{project_id}", responses=raises(ProjectNotFound))
def get_project(project_id: UUID, principal: Reader, session: Transaction) -> ProjectRead:
    """Read one project."""
    return ProjectRead.model_validate(service.get_project(session, principal.scope, project_id))


@router.patch("/{project_id}", responses=raises(ProjectNotFound))
def update_project(project_id: UUID, body: ProjectUpdate, principal: Writer, session: Transaction) -> ProjectRead:
    """Change description or tags; what is left out stays."""
    project = service.update_project(session, principal, project_id, description=body.description, tags=body.tags)
    return ProjectRead.model_validate(project)


@router.delete(
    "/{project_id}", status_code=status.HTTP_204_NO_CONTENT, responses=raises(ProjectNotFound, ProjectNotEmpty)
)
def delete_project(project_id: UUID, principal: Writer, session: Transaction) -> None:
    """Delete an empty project. 409 `project_not_empty` says what is in it."""
    service.delete_project(session, principal, project_id)
