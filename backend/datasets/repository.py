"""All SQL of datasets. Every query is of one organization."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.core.db import Scope
from backend.core.ids import new_id
from backend.core.names import find_named
from backend.core.pagination import PageRequest, fetch_page
from backend.datasets.models import Blob, Dataset, DatasetFile, DatasetImport, DatasetVersion, Upload, UploadPart

INSERT_ROWS = 2_000


class UnscopedUploadRepository:
    """Uploads of every organization, for the controller's sweep."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def expired(self, limit: int) -> list[tuple[UUID, UUID]]:
        """(organization, upload) of open uploads past their time."""
        rows = self._session.execute(
            select(Upload.organization_id, Upload.id)
            .where(Upload.status == "open", Upload.expires_at <= func.clock_timestamp())
            .order_by(Upload.expires_at)
            .limit(limit)
        )
        return [(row[0], row[1]) for row in rows]

    def open_among(self, upload_ids: Collection[UUID]) -> set[UUID]:
        """Those of the uploads that are open."""
        return set(self._session.scalars(select(Upload.id).where(Upload.id.in_(upload_ids), Upload.status == "open")))


class UnscopedImportRepository:
    """Imports of every organization, for the controller's sweep."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def open_among(self, import_ids: Collection[UUID]) -> set[UUID]:
        """Those of the imports that are open."""
        return set(
            self._session.scalars(
                select(DatasetImport.id).where(DatasetImport.id.in_(import_ids), DatasetImport.ended_at.is_(None))
            )
        )


class ImportRepository:
    """Imports of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._own = DatasetImport.organization_id == scope.organization_id

    def find(self, import_id: UUID, *, lock: bool = False) -> DatasetImport | None:
        """One import."""
        query = select(DatasetImport).where(self._own, DatasetImport.id == import_id)
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()

    def page(self, page: PageRequest, *, dataset_id: UUID) -> tuple[list[DatasetImport], str | None]:
        """One page of a dataset's imports, newest first, and the next page's cursor."""
        query = select(DatasetImport).where(self._own, DatasetImport.dataset_id == dataset_id)
        return fetch_page(self._session, query, page, keys=[DatasetImport.id], sorts={"created_at": [DatasetImport.id]})


class DatasetRepository:
    """Datasets, their uploads, files and versions, and the organization's blobs."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self.session = session
        self.organization_id = scope.organization_id

    def _own(self, model: Any) -> ColumnElement[bool]:  # noqa: ANN401 - any tenant-owned model
        owned: InstrumentedAttribute[UUID] = model.organization_id
        return owned == self.organization_id

    # --- datasets ---

    def add(self, row: DatasetVersion | Upload | DatasetImport) -> None:
        """Insert one row now, so that a broken constraint shows here."""
        self.session.add(row)
        self.session.flush()

    def dataset(self, dataset_id: UUID, *, lock: bool = False) -> Dataset | None:
        """One dataset; with `lock`, nobody else numbers a version of it until the transaction ends."""
        query = select(Dataset).where(self._own(Dataset), Dataset.id == dataset_id)
        return self.session.scalars(query.with_for_update() if lock else query).one_or_none()

    def add_dataset(self, dataset: Dataset) -> bool:
        """Insert; False when the project has a dataset of this name."""
        try:
            with self.session.begin_nested():
                self.session.add(dataset)
        except IntegrityError as error:
            if "uq_datasets_organization_id" not in str(error.orig):
                raise  # the project was deleted meanwhile
            return False
        return True

    def named(self, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
        """(id, name, kind) of datasets by name, see `core.names`."""
        mine = select(Dataset.id, Dataset.name, Dataset.kind).where(Dataset.organization_id == self.organization_id)
        return find_named(self.session, mine, name=Dataset.name, newest=[Dataset.id.desc()], words=words, limit=limit)

    def datasets(
        self, page: PageRequest, *, project_id: UUID | None, name: str | None
    ) -> tuple[list[Dataset], str | None]:
        """One page, newest first, and the next page's cursor."""
        query = select(Dataset).where(self._own(Dataset))
        if project_id is not None:
            query = query.where(Dataset.project_id == project_id)
        if name is not None:
            query = query.where(Dataset.name == name)
        return fetch_page(self.session, query, page, keys=[Dataset.id])

    def has_versions(self, dataset_id: UUID) -> bool:
        """Whether anything of the dataset is frozen."""
        found = exists().where(self._own(DatasetVersion), DatasetVersion.dataset_id == dataset_id)
        return bool(self.session.scalar(select(found)))

    def delete_dataset(self, dataset_id: UUID) -> list[UUID]:
        """Remove a dataset, its files and uploads; returns the ids of the uploads."""
        uploads = list(
            self.session.scalars(
                select(Upload.id).where(self._own(Upload), Upload.dataset_id == dataset_id).with_for_update()
            )
        )
        self.session.execute(delete(UploadPart).where(self._own(UploadPart), UploadPart.upload_id.in_(uploads)))
        self.session.execute(delete(DatasetFile).where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id))
        self.session.execute(delete(Upload).where(self._own(Upload), Upload.dataset_id == dataset_id))
        self.session.execute(
            delete(DatasetImport).where(self._own(DatasetImport), DatasetImport.dataset_id == dataset_id)
        )
        self.session.execute(delete(Dataset).where(self._own(Dataset), Dataset.id == dataset_id))
        return uploads

    # --- files ---

    def files(self, dataset_id: UUID) -> Sequence[Any]:
        """(path, sha256, size_bytes, label, attributes) of every file, in no order."""
        return self.session.execute(
            select(
                DatasetFile.path,
                DatasetFile.sha256,
                DatasetFile.size_bytes,
                DatasetFile.label,
                DatasetFile.attributes,
            ).where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
        ).all()

    def images(self, dataset_id: UUID) -> Sequence[Any]:
        """(path, sha256, size_bytes, label, width, height) of every image, in no order.

        PostgreSQL reads the attributes: 100,000 JSON texts take Python half a second.
        """
        return self.session.execute(
            select(
                DatasetFile.path,
                DatasetFile.sha256,
                DatasetFile.size_bytes,
                DatasetFile.label,
                DatasetFile.attributes["width"].as_integer().label("width"),
                DatasetFile.attributes["height"].as_integer().label("height"),
            ).where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
        ).all()

    def digests_by_path(self, dataset_id: UUID) -> dict[str, str]:
        """SHA-256 by path of every file of the dataset."""
        rows = self.session.execute(
            select(DatasetFile.path, DatasetFile.sha256).where(
                self._own(DatasetFile), DatasetFile.dataset_id == dataset_id
            )
        )
        return {row[0]: row[1] for row in rows}

    def attributes(self, dataset_id: UUID) -> list[dict[str, Any]]:
        """What the kind noted of each file, by path."""
        return list(
            self.session.scalars(
                select(DatasetFile.attributes)
                .where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
                .order_by(DatasetFile.path)
            )
        )

    def file_by_digest(self, dataset_id: UUID, sha256: str) -> DatasetFile | None:
        """A file of the dataset with this content."""
        return self.session.scalars(
            select(DatasetFile)
            .where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id, DatasetFile.sha256 == sha256)
            .order_by(DatasetFile.path)
            .limit(1)
        ).one_or_none()

    def samples(self, dataset_id: UUID, *, each: int) -> Sequence[Any]:
        """The first files of every label by path: (label, path, sha256, size_bytes, attributes)."""
        place = func.row_number().over(partition_by=DatasetFile.label, order_by=DatasetFile.path).label("place")
        ranked = (
            select(
                DatasetFile.label,
                DatasetFile.path,
                DatasetFile.sha256,
                DatasetFile.size_bytes,
                DatasetFile.attributes,
                place,
            )
            .where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
            .subquery()
        )
        return self.session.execute(
            select(ranked).where(ranked.c.place <= each).order_by(ranked.c.label, ranked.c.path)
        ).all()

    def labels(self, dataset_id: UUID) -> dict[str, int]:
        """Files per label."""
        rows = self.session.execute(
            select(DatasetFile.label, func.count())
            .where(self._own(DatasetFile), DatasetFile.dataset_id == dataset_id)
            .group_by(DatasetFile.label)
            .order_by(DatasetFile.label)
        )
        return {row[0]: row[1] for row in rows}

    def add_files(self, dataset_id: UUID, upload_id: UUID, files: Sequence[dict[str, Any]]) -> None:
        """Insert files: [{path, sha256, size_bytes, label, attributes}]. A path of the dataset may exist once."""
        common = {"organization_id": self.organization_id, "dataset_id": dataset_id, "upload_id": upload_id}
        for start in range(0, len(files), INSERT_ROWS):
            rows = [{"id": new_id(), **common, **file} for file in files[start : start + INSERT_ROWS]]
            self.session.execute(insert(DatasetFile), rows)

    # --- blobs ---

    def add_blobs(self, sizes: dict[str, int]) -> None:
        """Rows for blobs by digest; those already known stay. Ordered, so two writers never deadlock."""
        digests = sorted(sizes)
        for start in range(0, len(digests), INSERT_ROWS):
            rows = [
                {"organization_id": self.organization_id, "sha256": digest, "size_bytes": sizes[digest]}
                for digest in digests[start : start + INSERT_ROWS]
            ]
            self.session.execute(postgresql.insert(Blob).on_conflict_do_nothing(), rows)

    def blob_sizes(self, digests: Sequence[str]) -> dict[str, int]:
        """Sizes of those of the digests that the organization has."""
        rows = self.session.execute(
            select(Blob.sha256, Blob.size_bytes).where(self._own(Blob), Blob.sha256.in_(digests))
        )
        return {row[0]: row[1] for row in rows}

    # --- uploads ---

    def upload(self, upload_id: UUID, *, lock: bool = False) -> Upload | None:
        """One upload."""
        query = select(Upload).where(self._own(Upload), Upload.id == upload_id)
        return self.session.scalars(query.with_for_update() if lock else query).one_or_none()

    def uploads(
        self, page: PageRequest, *, dataset_id: UUID, status: str | None = None
    ) -> tuple[list[Upload], str | None]:
        """One page of a dataset's uploads, newest first, and the next page's cursor."""
        query = select(Upload).where(self._own(Upload), Upload.dataset_id == dataset_id)
        if status is not None:
            query = query.where(Upload.status == status)
        return fetch_page(self.session, query, page, keys=[Upload.id], sorts={"created_at": [Upload.id]})

    def is_expired(self, upload: Upload) -> bool:
        """Whether the upload was open for too long, by Postgres's clock."""
        return bool(
            self.session.scalar(select(Upload.expires_at <= func.clock_timestamp()).where(Upload.id == upload.id))
        )

    def parts(self, upload_id: UUID) -> Sequence[UploadPart]:
        """Stored parts, by number."""
        return self.session.scalars(
            select(UploadPart)
            .where(self._own(UploadPart), UploadPart.upload_id == upload_id)
            .order_by(UploadPart.number)
        ).all()

    def put_part(self, upload_id: UUID, *, number: int, size_bytes: int, sha256: str) -> UploadPart:
        """Record a stored part, replacing one of the same number."""
        values = {"organization_id": self.organization_id, "upload_id": upload_id, "number": number}
        content = {"size_bytes": size_bytes, "sha256": sha256}
        statement = (
            postgresql.insert(UploadPart)
            .values(**values, **content)
            .on_conflict_do_update(
                index_elements=["upload_id", "number"], set_={**content, "created_at": func.clock_timestamp()}
            )
            .returning(UploadPart)
        )
        return self.session.scalars(statement, execution_options={"populate_existing": True}).one()

    def delete_parts(self, upload_id: UUID) -> None:
        """Forget the stored parts."""
        self.session.execute(delete(UploadPart).where(self._own(UploadPart), UploadPart.upload_id == upload_id))

    # --- versions ---

    def version(self, version_id: UUID) -> DatasetVersion | None:
        """One version."""
        return self.session.scalars(
            select(DatasetVersion).where(self._own(DatasetVersion), DatasetVersion.id == version_id)
        ).one_or_none()

    def next_number(self, dataset_id: UUID) -> int:
        """The number of the dataset's next version; the dataset must be locked."""
        newest = self.session.scalar(
            select(func.max(DatasetVersion.number)).where(
                self._own(DatasetVersion), DatasetVersion.dataset_id == dataset_id
            )
        )
        return (newest or 0) + 1

    def versions_to_choose(
        self, *, project_id: UUID | None, kind: str | None, limit: int
    ) -> list[tuple[DatasetVersion, Dataset]]:
        """Versions with their datasets, of all datasets together, newest first."""
        query = (
            select(DatasetVersion, Dataset)
            .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
            .where(self._own(DatasetVersion), self._own(Dataset))
        )
        if project_id is not None:
            query = query.where(Dataset.project_id == project_id)
        if kind is not None:
            query = query.where(Dataset.kind == kind)
        rows = self.session.execute(query.order_by(DatasetVersion.created_at.desc(), DatasetVersion.id).limit(limit))
        return [(version, dataset) for version, dataset in rows]

    def versions(self, page: PageRequest, *, dataset_id: UUID) -> tuple[list[DatasetVersion], str | None]:
        """One page of a dataset's versions, newest first, and the next page's cursor."""
        query = select(DatasetVersion).where(self._own(DatasetVersion), DatasetVersion.dataset_id == dataset_id)
        keys = [DatasetVersion.number]
        return fetch_page(self.session, query, page, keys=keys, sorts={"number": keys})
