"""Idempotency keys: the first answer to a mutating call is kept and given again for a day."""

from datetime import datetime

from sqlalchemy import Index, Integer, LargeBinary, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, TenantOwned


class IdempotencyRecord(Identified, TenantOwned, Base):
    """One key of one principal. `status` None = the first call is still being carried out."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        UniqueConstraint("organization_id", "principal", "key"),
        Index("ix_idempotency_keys_created_at", "created_at"),
    )

    principal: Mapped[str]
    key: Mapped[str]
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None] = mapped_column(Integer)
    content_type: Mapped[str | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
