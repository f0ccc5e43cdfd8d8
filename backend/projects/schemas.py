"""What the API takes and gives about projects."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.core.fields import Description, ResourceName, Tags


class ProjectCreate(BaseModel):
    """A new project."""

    model_config = ConfigDict(extra="forbid")

    name: ResourceName
    description: Description = ""
    tags: Tags = Field(default_factory=dict)


class ProjectUpdate(BaseModel):
    """Changes; what is left out stays. `tags` replaces all tags."""

    model_config = ConfigDict(extra="forbid")

    description: Description | None = None
    tags: Tags | None = None


class ProjectRead(BaseModel):
    """A project."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    description: str
    tags: dict[str, str]
    created_at: datetime
