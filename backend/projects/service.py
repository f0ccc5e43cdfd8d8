"""Use cases of projects."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.pagination import PageRequest
from backend.projects.errors import ProjectNameTaken, ProjectNotEmpty, ProjectNotFound
from backend.projects.models import Project
from backend.projects.repository import COUNTED, ProjectRepository, TagRepository


def create_project(
    session: Session, principal: Principal, *, name: str, description: str, tags: dict[str, str]
) -> Project:
    """A new project. Raises ProjectNameTaken."""
    project = Project(organization_id=principal.organization_id, name=name, description=description, tags=dict(tags))
    if not ProjectRepository(session, principal.scope).add(project):
        raise ProjectNameTaken(f"there is already a project named '{name}'", name=name)
    _record(session, principal, "project.create", project, {"name": name})
    return project


def get_project(session: Session, scope: Scope, project_id: UUID) -> Project:
    """One project. Raises ProjectNotFound."""
    project = ProjectRepository(session, scope).find(project_id)
    if project is None:
        raise _not_found(project_id)
    return project


def list_projects(
    session: Session, scope: Scope, page: PageRequest, *, name: str | None = None, text: str | None = None
) -> tuple[list[Project], str | None]:
    """One page of projects, newest first, and the next page's cursor; of this name, or whose name contains `text`."""
    return ProjectRepository(session, scope).list_projects(page, name=name, text=text)


def count_contents(session: Session, scope: Scope, project_id: UUID) -> dict[str, int]:
    """How many rows of each table refer to the project; absent = none. Only an empty project can be deleted.

    Counted up to `COUNTED`: one more stands for all that are more.
    """
    return ProjectRepository(session, scope).contents(project_id)


def counted(count: int) -> str:
    """A count of `count_contents` in words."""
    return f"{count:,}" if count <= COUNTED else f"more than {COUNTED:,}"


def find_named(session: Session, scope: Scope, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
    """(id, name) of up to `limit` projects whose name holds `words`; see `core.names`."""
    return ProjectRepository(session, scope).named(words, limit)


def update_project(
    session: Session,
    principal: Principal,
    project_id: UUID,
    *,
    description: str | None = None,
    tags: dict[str, str] | None = None,
) -> Project:
    """Change description or all tags; None leaves them. Raises ProjectNotFound."""
    project = _locked(session, principal.scope, project_id)
    changed = []
    if description is not None:
        project.description = description
        changed.append("description")
    if tags is not None:
        project.tags = dict(tags)
        changed.append("tags")
    _record(session, principal, "project.update", project, {"changed": changed})
    return project


def delete_project(session: Session, principal: Principal, project_id: UUID) -> None:
    """Delete an empty project. Raises ProjectNotFound, ProjectNotEmpty."""
    project = _locked(session, principal.scope, project_id)
    projects = ProjectRepository(session, principal.scope)
    contents = projects.contents(project_id)
    if contents:
        listed = ", ".join(f"{kind.replace('_', ' ')}: {counted(count)}" for kind, count in contents.items())
        raise ProjectNotEmpty(
            f"project '{project.name}' still holds {listed}",
            hint="delete what is in it first; what was billed stays, and keeps its project",
            contents=contents,
        )
    projects.delete(project)
    _record(session, principal, "project.delete", project, {"name": project.name})


def list_tags(session: Session, scope: Scope, *, limit: int) -> list[tuple[str, str, str, int]]:
    """Tags in use, whatever carries them: rows (key, value, table of the carriers, how many), sorted."""
    return TagRepository(session, scope).counts(limit)


def list_carriers(
    session: Session, scope: Scope, key: str, value: str, *, limit: int
) -> list[tuple[str, UUID, str | None]]:
    """What carries the tag `key=value`: rows (its table, id, name where it has one), newest first."""
    return TagRepository(session, scope).carriers(key, value, limit)


def _locked(session: Session, scope: Scope, project_id: UUID) -> Project:
    project = ProjectRepository(session, scope).find(project_id, lock=True)
    if project is None:
        raise _not_found(project_id)
    return project


def _not_found(project_id: UUID) -> ProjectNotFound:
    return ProjectNotFound(f"there is no project {project_id}")


def _record(session: Session, principal: Principal, action: str, project: Project, detail: dict[str, object]) -> None:
    audit.record(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind="project",
        resource_id=project.id,
        detail=detail,
    )
