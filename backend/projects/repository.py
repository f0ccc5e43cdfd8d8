"""All SQL of projects."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.core.db import Base, Scope
from backend.core.pagination import PageRequest, fetch_page
from backend.projects.models import Project


class ProjectRepository:
    """Projects of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def add(self, project: Project) -> bool:
        """Insert; False when the name is taken."""
        try:
            with self._session.begin_nested():
                self._session.add(project)
        except IntegrityError:
            return False
        return True

    def find(self, project_id: UUID, *, lock: bool = False) -> Project | None:
        """The project; `lock` keeps others from changing or referring to it until the transaction ends."""
        statement = select(Project).where(
            Project.organization_id == self._scope.organization_id, Project.id == project_id
        )
        return self._session.scalars(statement.with_for_update() if lock else statement).one_or_none()

    def list_projects(
        self, page: PageRequest, *, name: str | None = None, text: str | None = None
    ) -> tuple[list[Project], str | None]:
        """Newest first; of this name, or whose name contains `text`."""
        statement = select(Project).where(Project.organization_id == self._scope.organization_id)
        if name is not None:
            statement = statement.where(Project.name == name)
        if text is not None:
            statement = statement.where(Project.name.icontains(text, autoescape=True))
        return fetch_page(self._session, statement, page, keys=[Project.id])

    def contents(self, project_id: UUID) -> dict[str, int]:
        """How many rows of each table refer to the project, found from the foreign keys; absent = none."""
        found = {}
        for table in Base.metadata.sorted_tables:
            for constraint in table.foreign_key_constraints:
                if constraint.referred_table.name != Project.__tablename__:
                    continue
                count = self._session.scalar(
                    select(func.count())
                    .select_from(table)
                    .where(table.c.organization_id == self._scope.organization_id, table.c.project_id == project_id)
                )
                if count:
                    found[table.name] = count
        return found

    def delete(self, project: Project) -> None:
        """Remove an empty project."""
        self._session.delete(project)
        self._session.flush()
