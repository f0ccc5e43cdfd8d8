"""What the API gives about the audit."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class AuditEventRead(BaseModel):
    """One act. `sequence` and `hash` (hex) are None until it is sealed."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    at: datetime
    actor: str
    action: str
    resource_kind: str
    resource_id: str
    detail: dict[str, Any]
    sequence: int | None
    hash: str | None


class ChainRead(BaseModel):
    """Whether the sealed chain is whole. Keep `checked` and `head` elsewhere to notice a cut at its end."""

    checked: int
    broken_at: int | None
    head: str
