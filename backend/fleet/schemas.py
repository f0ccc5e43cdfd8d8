"""What the fleet shows of itself."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class InstanceTypeView(BaseModel):
    """A priced shape."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    provider: str
    vcpus: float
    memory_bytes: int
    gpus: int
    description: str


class InstanceView(BaseModel):
    """One machine of a shape."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    project_id: UUID
    instance_type: str
    market: str
    provider: str
    status: str
    status_reason: str
    requested_at: datetime
    launched_at: datetime | None
    ready_at: datetime | None
    drain_requested_at: datetime | None
    terminating_at: datetime | None
    terminated_at: datetime | None


class InstanceTypes(BaseModel):
    """All instance types."""

    items: list[InstanceTypeView]


class Instances(BaseModel):
    """Instances, newest first."""

    items: list[InstanceView]
