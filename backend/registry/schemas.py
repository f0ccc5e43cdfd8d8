"""What the API takes and gives about models and their versions."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.core.fields import Description, Tags

ApprovalStatus = Literal["pending", "approved", "rejected"]


class ModelUpdate(BaseModel):
    """Changes; what is left out stays. `tags` replaces all tags."""

    model_config = ConfigDict(extra="forbid")

    description: Description | None = None
    tags: Tags | None = None


class VersionUpdate(BaseModel):
    """`tags` replaces all tags; nothing else of a version changes but its approval status."""

    model_config = ConfigDict(extra="forbid")

    tags: Tags


class Review(BaseModel):
    """Why a version is approved or rejected."""

    model_config = ConfigDict(extra="forbid")

    reason: Description = ""


class ArtifactFile(BaseModel):
    """A file of an artifact. Its content: `GET /api/v1/model-versions/{id}/files/{name}`."""

    name: str
    sha256: str
    size_bytes: int


class ModelVersionRead(BaseModel):
    """A model version. `size_bytes`: of `model.onnx`, what an endpoint loads."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    id: UUID
    model_id: UUID
    number: int
    files: list[ArtifactFile]
    size_bytes: int
    signature: dict[str, Any]
    metrics: dict[str, Any]
    report: dict[str, Any]
    approval_status: ApprovalStatus
    job_id: UUID | None = Field(description="the job that made it")
    attempt_id: UUID | None
    dataset_version_id: UUID | None
    parent_version_id: UUID | None = Field(description="the version it was compressed from")
    tags: dict[str, str]
    created_at: datetime


class ModelVersionDetail(ModelVersionRead):
    """A model version, and the name of its model."""

    model_name: str


class ModelRead(BaseModel):
    """A model and its newest version; a model always has one."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    project_id: UUID
    name: str
    description: str
    tags: dict[str, str]
    created_by: str
    created_at: datetime
    newest_version: ModelVersionRead | None
