"""All SQL of projects."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Subquery, Table, Text, cast, func, literal, null, select, union_all
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.core.db import Base, Scope
from backend.core.names import find_named
from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.projects.models import Project

COUNTED = 10_000
"""Rows of a table that are counted one by one: counting a million takes a third of a second."""
RECENT = 20_000
"""Of each table, the newest rows whose tags are looked at."""
PROJECT_SORTS: Sorts = {"name": [Project.name], "created_at": [Project.id]}


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
        return fetch_page(self._session, statement, page, keys=[Project.id], sorts=PROJECT_SORTS)

    def named(self, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
        """(id, name) of projects by name, see `core.names`."""
        mine = select(Project.id, Project.name).where(Project.organization_id == self._scope.organization_id)
        return find_named(self._session, mine, name=Project.name, newest=[Project.id.desc()], words=words, limit=limit)

    def contents(self, project_id: UUID) -> dict[str, int]:
        """How many rows of each table refer to the project, found from the foreign keys; absent = none.

        `COUNTED` + 1 stands for more than `COUNTED`.
        """
        found = {}
        for table in Base.metadata.sorted_tables:
            for constraint in table.foreign_key_constraints:
                if constraint.referred_table.name != Project.__tablename__:
                    continue
                rows = (
                    select(literal(1))
                    .select_from(table)
                    .where(table.c.organization_id == self._scope.organization_id, table.c.project_id == project_id)
                    .limit(COUNTED + 1)
                    .subquery()
                )
                count = self._session.scalar(select(func.count()).select_from(rows))
                if count:
                    found[table.name] = count
        return found

    def delete(self, project: Project) -> None:
        """Remove an empty project."""
        self._session.delete(project)
        self._session.flush()


class TagRepository:
    """Tags of whatever an organization owns, found from the tables that have them."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def counts(self, limit: int) -> list[tuple[str, str, str, int]]:
        """Rows (key, value, table, how many of its newest `RECENT` rows), by these; the first `limit`."""
        parts = []
        for table, newest in self._tagged():
            pair = func.jsonb_each_text(newest.c.tags).table_valued("key", "value")
            key, value = pair.c.key, pair.c.value
            parts.append(
                select(
                    key.label("key"),
                    value.label("value"),
                    literal(table.name).label("kind"),
                    func.count().label("count"),
                )
                .select_from(newest)
                .join(pair, literal(value=True))
                .where(newest.c.tags != {})
                .group_by(key, value)
            )
        every = union_all(*parts).subquery()
        found = select(every).order_by(every.c.key, every.c.value, every.c.kind).limit(limit)
        return [(key, value, kind, count) for key, value, kind, count in self._session.execute(found)]

    def carriers(self, key: str, value: str, limit: int) -> list[tuple[str, UUID, str | None]]:
        """Rows (table, id, name if the table has names) of what carries a tag, newest first; the first `limit`.

        Of each table its newest `RECENT` rows are looked at.
        """
        parts = [
            select(
                literal(table.name).label("kind"),
                newest.c.id.label("id"),
                (cast(newest.c.name, Text) if "name" in newest.c else null()).label("name"),
            ).where(newest.c.tags.contains({key: value}))
            for table, newest in self._tagged()
        ]
        every = union_all(*parts).subquery()
        found = select(every).order_by(every.c.id.desc()).limit(limit)
        return [(kind, id_, name) for kind, id_, name in self._session.execute(found)]

    def _tagged(self) -> Iterator[tuple[Table, Subquery]]:
        """Every table with tags, and its rows that count: this organization's newest that are not deleted."""
        for table in Base.metadata.sorted_tables:
            if "tags" in table.c and "organization_id" in table.c:
                mine: list[ColumnElement[bool]] = [table.c.organization_id == self._scope.organization_id]
                mine += [table.c[name].is_(None) for name in ("deleted_at", "revoked_at") if name in table.c]
                columns = [table.c[name] for name in ("id", "tags", "name") if name in table.c]
                yield table, select(*columns).where(*mine).order_by(table.c.id.desc()).limit(RECENT).subquery()
