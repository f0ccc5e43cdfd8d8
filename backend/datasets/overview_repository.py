"""What pages ask of datasets: search, counts, files page by page. Every query is of one organization."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.core.db import Scope
from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.datasets.models import Dataset, DatasetFile, DatasetVersion, Upload, UploadPart

DATASET_SORTS: Sorts = {"name": [Dataset.name, Dataset.id], "created_at": [Dataset.id]}


class OverviewRepository:
    """Reads only. Counts are Postgres's: no query here returns more rows than a page shows."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    def _own(self, model: Any) -> ColumnElement[bool]:  # noqa: ANN401 - any tenant-owned model
        owned: InstrumentedAttribute[UUID] = model.organization_id
        return owned == self._organization_id

    def datasets(
        self, page: PageRequest, *, project_id: UUID | None, kind: str | None, text: str | None
    ) -> tuple[list[Dataset], str | None]:
        """One page, newest first, of datasets whose name contains `text`, and the next page's cursor."""
        query = select(Dataset).where(self._own(Dataset))
        if project_id is not None:
            query = query.where(Dataset.project_id == project_id)
        if kind is not None:
            query = query.where(Dataset.kind == kind)
        if text is not None:
            query = query.where(Dataset.name.icontains(text, autoescape=True))
        return fetch_page(self._session, query, page, keys=[Dataset.id], sorts=DATASET_SORTS)

    def file_counts(self, dataset_ids: Collection[UUID]) -> dict[UUID, int]:
        """Files of each of these datasets; absent = none."""
        rows = self._session.execute(
            select(DatasetFile.dataset_id, func.count())
            .where(self._own(DatasetFile), DatasetFile.dataset_id.in_(dataset_ids))
            .group_by(DatasetFile.dataset_id)
        )
        return {row[0]: row[1] for row in rows}

    def newest_versions(self, dataset_ids: Collection[UUID]) -> dict[UUID, DatasetVersion]:
        """The newest version of each of these datasets; absent = none."""
        newest = (
            select(DatasetVersion.dataset_id, func.max(DatasetVersion.number))
            .where(self._own(DatasetVersion), DatasetVersion.dataset_id.in_(dataset_ids))
            .group_by(DatasetVersion.dataset_id)
        )
        rows = self._session.scalars(
            select(DatasetVersion).where(
                self._own(DatasetVersion), tuple_(DatasetVersion.dataset_id, DatasetVersion.number).in_(newest)
            )
        )
        return {version.dataset_id: version for version in rows}

    def label_totals(self, dataset_id: UUID) -> Sequence[tuple[str, int, int]]:
        """(label, files, bytes) of a dataset, by label."""
        rows = self._session.execute(
            select(DatasetFile.label, func.count(), func.sum(DatasetFile.size_bytes))
            .where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
            .group_by(DatasetFile.label)
            .order_by(DatasetFile.label)
        )
        return [(row[0], row[1], int(row[2])) for row in rows]

    def files(self, page: PageRequest, dataset_id: UUID, *, label: str | None) -> tuple[list[DatasetFile], str | None]:
        """One page of the files of a dataset, or of one label, by path, and the next page's cursor."""
        query = select(DatasetFile).where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
        if label is not None:
            query = query.where(DatasetFile.label == label)
        return fetch_page(self._session, query, page, keys=[DatasetFile.path], descending=False)

    def file(self, dataset_id: UUID, file_id: UUID) -> DatasetFile | None:
        """One file of a dataset."""
        query = select(DatasetFile).where(
            self._own(DatasetFile), DatasetFile.dataset_id == dataset_id, DatasetFile.id == file_id
        )
        return self._session.scalars(query).one_or_none()

    def open_uploads(self, dataset_id: UUID, *, sha256: str | None, limit: int) -> list[tuple[Upload, int]]:
        """(upload, stored parts) of what waits for parts and has not expired, newest first."""
        stored = (
            select(func.count())
            .where(self._own(UploadPart), UploadPart.upload_id == Upload.id)
            .correlate(Upload)
            .scalar_subquery()
        )
        query = select(Upload, stored).where(
            self._own(Upload),
            Upload.dataset_id == dataset_id,
            Upload.status == "open",
            Upload.expires_at > func.clock_timestamp(),
        )
        if sha256 is not None:
            query = query.where(Upload.sha256 == sha256)
        rows = self._session.execute(query.order_by(Upload.id.desc()).limit(limit))
        return [(row[0], row[1]) for row in rows]
