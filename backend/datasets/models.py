"""Tables of datasets: blobs, datasets, uploads in parts, files, immutable versions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import (
    Base,
    Identified,
    Leased,
    Tagged,
    TenantOwned,
    Timestamped,
    tenant_key,
    tenant_reference,
)


class Blob(Timestamped, Base):
    """A content-addressed object of an organization, stored under its SHA-256."""

    __tablename__ = "blobs"

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int]


class Dataset(Identified, TenantOwned, Tagged, Timestamped, Base):
    """Named data of one kind: image, tabular or text."""

    __tablename__ = "datasets"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        UniqueConstraint("organization_id", "project_id", "name"),
    )

    project_id: Mapped[UUID]
    name: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str]
    created_by: Mapped[str]
    target_column: Mapped[str | None]
    """Of a table: the column to be predicted."""
    column_types: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """Of a table: declared types by column; the others are found."""


class Upload(Identified, TenantOwned, Timestamped, Base):
    """A file on its way in, in resumable parts. Declared size and SHA-256 are checked at completion."""

    __tablename__ = "uploads"
    __table_args__ = (
        tenant_key(),
        tenant_reference("dataset_id", "datasets"),
        Index("ix_uploads_open", "expires_at", postgresql_where=text("status = 'open'")),
    )

    dataset_id: Mapped[UUID]
    file_name: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    part_size_bytes: Mapped[int]
    label: Mapped[str | None]
    """Of the only file, where the upload is one file and no archive."""
    status: Mapped[str]
    status_reason: Mapped[str] = mapped_column(server_default="")
    errors: Mapped[list[Any]] = mapped_column(server_default="[]")
    """Of a failed upload: [{path, code, message}], at most a hundred."""
    created_by: Mapped[str]
    expires_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    file_count: Mapped[int] = mapped_column(Integer, server_default="0")

    @property
    def part_count(self) -> int:
        """How many parts the file is cut into."""
        return -(-self.size_bytes // self.part_size_bytes)

    @property
    def last_part_size_bytes(self) -> int:
        """Size of the last part; all others have `part_size_bytes`."""
        return self.size_bytes - (self.part_count - 1) * self.part_size_bytes


class UploadPart(Timestamped, Base):
    """A stored part of an upload, numbered from 1."""

    __tablename__ = "upload_parts"
    __table_args__ = (tenant_reference("upload_id", "uploads"),)

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    upload_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))


class DatasetFile(Identified, TenantOwned, Timestamped, Base):
    """A validated file waiting to be frozen into a version."""

    __tablename__ = "dataset_files"
    __table_args__ = (
        tenant_reference("dataset_id", "datasets"),
        UniqueConstraint("dataset_id", "path"),
        Index(
            "ix_dataset_files_label",
            "organization_id",
            "dataset_id",
            "label",
            "path",
            postgresql_include=["size_bytes"],
        ),
    )

    dataset_id: Mapped[UUID]
    upload_id: Mapped[UUID]
    path: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    label: Mapped[str]
    attributes: Mapped[dict[str, Any]]
    """Of an image: width, height, mode. Of a table or texts: rows, tally_sha256, and columns or labels."""


class DatasetVersion(Identified, TenantOwned, Tagged, Timestamped, Base):
    """An immutable snapshot: a Parquet manifest by digest. Same content and split = same digest."""

    __tablename__ = "dataset_versions"
    __table_args__ = (
        tenant_key(),
        tenant_reference("dataset_id", "datasets"),
        UniqueConstraint("dataset_id", "number"),
        Index("ix_dataset_versions_manifest", "organization_id", "manifest_sha256"),
    )

    dataset_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(server_default="image")
    number: Mapped[int] = mapped_column(Integer)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    manifest_bytes: Mapped[int]
    file_count: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int]
    classes: Mapped[dict[str, Any]]
    """Examples per label, by split: {label: {split: count}}."""
    splits: Mapped[dict[str, Any]]
    """Examples per split: {split: count}. An example is an image, a row of a table, a text."""
    split_seed: Mapped[int]
    created_by: Mapped[str]
    target_column: Mapped[str | None]
    tally_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of a table or texts: the blob of what was counted of it."""

    @property
    def example_count(self) -> int:
        """Images, rows or texts in all splits."""
        return sum(self.splits.values())


class DatasetImport(Identified, TenantOwned, Timestamped, Leased, Base):
    """A file that the control worker fetches for a dataset. What has arrived lies in parts of a fixed size."""

    __tablename__ = "dataset_imports"
    __table_args__ = (
        tenant_key(),
        tenant_reference("dataset_id", "datasets"),
        Index("ix_dataset_imports_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index("ix_dataset_imports_list", "organization_id", "dataset_id", "id"),
    )

    dataset_id: Mapped[UUID]
    source: Mapped[str]
    """`https://…` without its query, or `s3://bucket/key`: a query may be a credential."""
    file_name: Mapped[str]
    label: Mapped[str | None]
    access_encrypted: Mapped[bytes | None]
    """The whole address and the credentials; only while the import is open."""
    status: Mapped[str]
    status_reason: Mapped[str] = mapped_column(server_default="")
    errors: Mapped[list[Any]] = mapped_column(server_default="[]")
    """Of a failed import: [{path, code, message}], at most a hundred."""
    created_by: Mapped[str]
    cancel_requested_at: Mapped[datetime | None]
    received_bytes: Mapped[int] = mapped_column(server_default="0")
    size_bytes: Mapped[int | None]
    """As the source says; None = it has not said."""
    entity_tag: Mapped[str | None]
    """The source's word for this content: what has arrived counts while it stays."""
    failed_tries: Mapped[int] = mapped_column(Integer, server_default="0")
    """In a row, without a byte."""
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    file_count: Mapped[int] = mapped_column(Integer, server_default="0")
