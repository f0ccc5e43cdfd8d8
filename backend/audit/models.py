"""Tables of audit: an append-only record of who did what, sealed into a hash chain per organization."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, TenantOwned


class AuditEvent(Identified, TenantOwned, Base):
    """One act. `sequence` and the hashes are filled when the sweep seals it; until then they are None."""

    __tablename__ = "audit_events"
    __table_args__ = (
        UniqueConstraint("organization_id", "sequence"),
        Index("ix_audit_events_list", "organization_id", "at"),
        Index("ix_audit_events_unsealed", "at", "id", postgresql_where=text("sequence IS NULL")),
    )

    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    actor: Mapped[str]
    action: Mapped[str]
    resource_kind: Mapped[str]
    resource_id: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    sequence: Mapped[int | None]
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    hash: Mapped[bytes | None] = mapped_column(LargeBinary)
