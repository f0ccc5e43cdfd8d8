"""All SQL of the registry. Every query is of one organization."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.core.db import Scope
from backend.core.ids import new_id
from backend.core.lifecycle import Event
from backend.core.names import find_named
from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.registry.models import Model, ModelVersion

MODEL_SORTS: Sorts = {"name": [Model.name], "created_at": [Model.id]}
VERSION_SORTS: Sorts = {"number": [ModelVersion.number]}


class RegistryRepository:
    """Models and their versions."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self.session = session
        self.organization_id = scope.organization_id

    def _own(self, model: Any) -> ColumnElement[bool]:  # noqa: ANN401 - any tenant-owned model
        owned: InstrumentedAttribute[UUID] = model.organization_id
        return owned == self.organization_id

    def add(self, row: ModelVersion | Event) -> None:
        """Insert one row now, so that a broken constraint shows here."""
        self.session.add(row)
        self.session.flush()

    def model(self, model_id: UUID) -> Model | None:
        """One model."""
        return self.session.scalars(select(Model).where(self._own(Model), Model.id == model_id)).one_or_none()

    def model_by_name(self, name: str) -> Model | None:
        """The organization's model of this name."""
        return self.session.scalars(select(Model).where(self._own(Model), Model.name == name)).one_or_none()

    def ensure_model(self, *, project_id: UUID, name: str, created_by: str) -> Model:
        """The model of this name, made where absent, locked until the transaction ends."""
        values = {"project_id": project_id, "name": name, "description": "", "created_by": created_by}
        self.session.execute(
            postgresql.insert(Model)
            .values(id=new_id(), organization_id=self.organization_id, **values)
            .on_conflict_do_nothing(index_elements=["organization_id", "name"])
        )
        query = select(Model).where(self._own(Model), Model.name == name).with_for_update()
        return self.session.scalars(query).one()

    def models(
        self, page: PageRequest, *, project_id: UUID | None, name: str | None, name_contains: str | None
    ) -> tuple[list[Model], str | None]:
        """One page, newest first, and the next page's cursor."""
        query = select(Model).where(self._own(Model))
        if project_id is not None:
            query = query.where(Model.project_id == project_id)
        if name is not None:
            query = query.where(Model.name == name)
        if name_contains:
            query = query.where(Model.name.icontains(name_contains, autoescape=True))
        return fetch_page(self.session, query, page, keys=[Model.id], sorts=MODEL_SORTS)

    def named(self, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
        """(id, name) of models by name, see `core.names`."""
        mine = select(Model.id, Model.name).where(Model.organization_id == self.organization_id)
        return find_named(self.session, mine, name=Model.name, newest=[Model.id.desc()], words=words, limit=limit)

    def newest_versions(self, model_ids: Sequence[UUID]) -> dict[UUID, ModelVersion]:
        """The version with the highest number, by model."""
        query = (
            select(ModelVersion)
            .where(self._own(ModelVersion), ModelVersion.model_id.in_(model_ids))
            .ext(postgresql.distinct_on(ModelVersion.model_id))
            .order_by(ModelVersion.model_id, ModelVersion.number.desc())
        )
        return {version.model_id: version for version in self.session.scalars(query)}

    def version(self, version_id: UUID, *, lock: bool = False) -> ModelVersion | None:
        """One version."""
        query = select(ModelVersion).where(self._own(ModelVersion), ModelVersion.id == version_id)
        return self.session.scalars(query.with_for_update() if lock else query).one_or_none()

    def version_of_job(self, job_id: UUID) -> ModelVersion | None:
        """The version that a job made."""
        return self.session.scalars(
            select(ModelVersion).where(self._own(ModelVersion), ModelVersion.job_id == job_id)
        ).one_or_none()

    def next_number(self, model_id: UUID) -> int:
        """The number of the model's next version; the model must be locked."""
        newest = self.session.scalar(
            select(func.max(ModelVersion.number)).where(self._own(ModelVersion), ModelVersion.model_id == model_id)
        )
        return (newest or 0) + 1

    def servable(self, *, project_id: UUID | None, limit: int) -> list[tuple[Model, ModelVersion]]:
        """The newest versions that were not rejected, with their models."""
        query = select(Model, ModelVersion).join(
            ModelVersion, (ModelVersion.organization_id == Model.organization_id) & (ModelVersion.model_id == Model.id)
        )
        query = query.where(self._own(Model), self._own(ModelVersion), ModelVersion.approval_status != "rejected")
        if project_id is not None:
            query = query.where(Model.project_id == project_id)
        rows = self.session.execute(query.order_by(ModelVersion.id.desc()).limit(limit))
        return [(model, version) for model, version in rows]

    def with_models(self, version_ids: Collection[UUID]) -> dict[UUID, tuple[Model, ModelVersion]]:
        """Versions with their models, by the version's id."""
        rows = self.session.execute(
            select(Model, ModelVersion)
            .join(
                ModelVersion,
                (ModelVersion.organization_id == Model.organization_id) & (ModelVersion.model_id == Model.id),
            )
            .where(self._own(Model), self._own(ModelVersion), ModelVersion.id.in_(version_ids))
        )
        return {version.id: (model, version) for model, version in rows}

    def versions(self, page: PageRequest, *, model_id: UUID) -> tuple[list[ModelVersion], str | None]:
        """One page of a model's versions, newest first, and the next page's cursor."""
        query = select(ModelVersion).where(self._own(ModelVersion), ModelVersion.model_id == model_id)
        return fetch_page(self.session, query, page, keys=[ModelVersion.number], sorts=VERSION_SORTS)

    def compressed_from(self, version_ids: Sequence[UUID]) -> Sequence[ModelVersion]:
        """Versions that were compressed from these, oldest first."""
        query = select(ModelVersion).where(self._own(ModelVersion), ModelVersion.parent_version_id.in_(version_ids))
        return self.session.scalars(query.order_by(ModelVersion.created_at, ModelVersion.id)).all()

    def events(self, version_id: UUID) -> Sequence[Event]:
        """Changes of a version's approval status, oldest first."""
        query = select(Event).where(
            self._own(Event), Event.resource_kind == "model_version", Event.resource_id == version_id
        )
        return self.session.scalars(query.order_by(Event.at, Event.id)).all()
