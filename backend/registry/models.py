"""Tables of the registry: models and their immutable versions."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import (
    Base,
    Identified,
    Tagged,
    TenantOwned,
    Timestamped,
    tenant_key,
    tenant_reference,
)


class Model(Identified, TenantOwned, Tagged, Timestamped, Base):
    """A registry entry; its name is unique in the organization."""

    __tablename__ = "models"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        UniqueConstraint("organization_id", "name"),
    )

    project_id: Mapped[UUID]
    name: Mapped[str]
    description: Mapped[str]
    created_by: Mapped[str]


class ModelVersion(Identified, TenantOwned, Tagged, Timestamped, Base):
    """An immutable artifact with signature, metrics, lineage and approval status."""

    __tablename__ = "model_versions"
    __table_args__ = (
        tenant_key(),
        tenant_reference("model_id", "models"),
        tenant_reference("job_id", "jobs"),
        tenant_reference("dataset_version_id", "dataset_versions"),
        tenant_reference("parent_version_id", "model_versions"),
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("job_id"),
        CheckConstraint("approval_status in ('pending','approved','rejected')", name="approval_status"),
        Index("ix_model_versions_list", "organization_id", "model_id", "number"),
        Index("ix_model_versions_parent", "organization_id", "parent_version_id"),
    )

    model_id: Mapped[UUID]
    number: Mapped[int] = mapped_column(Integer)
    files: Mapped[list[Any]]
    """Of the artifact: [{name, sha256, size_bytes}]."""
    size_bytes: Mapped[int]
    """Of `model.onnx`, what an endpoint loads."""
    signature: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    """What the job kind measured, such as a compression report."""
    approval_status: Mapped[str]
    job_id: Mapped[UUID | None]
    attempt_id: Mapped[UUID | None]
    dataset_version_id: Mapped[UUID | None]
    parent_version_id: Mapped[UUID | None]
    """The version it was compressed from."""
