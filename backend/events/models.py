"""Tables of events told outside: subscriptions, deliveries, their attempts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Integer, LargeBinary, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from backend.core.db import Base, Identified, Leased, TenantOwned, Timestamped, tenant_key, tenant_reference


def _goes_with(column: str, table: str) -> ForeignKeyConstraint:
    """A tenant's reference whose row goes when what it refers to goes."""
    return ForeignKeyConstraint(
        ["organization_id", column], [f"{table}.organization_id", f"{table}.id"], ondelete="CASCADE"
    )


class EventSubscription(Identified, TenantOwned, Timestamped, Base):
    """Who is told of what. A webhook has a secret; `disabled_at` None = it is told.

    `failures` counts attempts that failed since the last success, the first of them at `failing_since`.
    """

    __tablename__ = "event_subscriptions"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        CheckConstraint("channel in ('webhook','email')", name="channel"),
        CheckConstraint("(channel = 'webhook') = (secret_encrypted is not null)", name="secret_of_a_webhook"),
        Index("ix_event_subscriptions_list", "organization_id", "created_at", "id"),
    )

    channel: Mapped[str]
    target: Mapped[str]
    """An address: of a web server, or of a mailbox."""
    description: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text()))
    """Names as `job.completed`, `job.*` or `*`."""
    project_id: Mapped[UUID | None]
    secret_encrypted: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_by: Mapped[str]
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str] = mapped_column(server_default="")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    failing_since: Mapped[datetime | None]


class EventDelivery(Identified, TenantOwned, Timestamped, Leased, Base):
    """One message for one subscription. Pending while `due_at` is set; `seq` None = out of order (a test, a replay)."""

    __tablename__ = "event_deliveries"
    __table_args__ = (
        tenant_key(),
        _goes_with("subscription_id", "event_subscriptions"),
        CheckConstraint(
            "(due_at is not null) = (delivered_at is null and failed_at is null)", name="due_while_it_is_pending"
        ),
        Index("ix_event_deliveries_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        Index(
            "ix_event_deliveries_order",
            "subscription_id",
            "resource_id",
            "seq",
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index("ix_event_deliveries_list", "organization_id", "created_at", "id"),
        Index("ix_event_deliveries_of", "organization_id", "subscription_id", "created_at", "id"),
    )

    subscription_id: Mapped[UUID]
    event_id: Mapped[UUID]
    """The message's id for its receivers, the same in every attempt and replay."""
    seq: Mapped[int | None]
    event_type: Mapped[str]
    resource_kind: Mapped[str]
    resource_id: Mapped[UUID]
    resource_name: Mapped[str]
    body: Mapped[str]
    """The JSON that is signed and sent, byte for byte."""
    replay_of: Mapped[UUID | None]
    attempt_count: Mapped[int] = mapped_column(Integer, server_default="0")
    last_response_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str] = mapped_column(server_default="")
    delivered_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]


class EventDeliveryAttempt(Identified, TenantOwned, Base):
    """One try: what the receiver answered, or why it could not."""

    __tablename__ = "event_delivery_attempts"
    __table_args__ = (
        _goes_with("delivery_id", "event_deliveries"),
        Index("ix_event_delivery_attempts_of", "delivery_id", "number"),
    )

    delivery_id: Mapped[UUID]
    number: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    duration_ms: Mapped[int] = mapped_column(Integer)
    response_status: Mapped[int | None] = mapped_column(Integer)
    response_text: Mapped[str]
    """The beginning of the receiver's answer."""
    error: Mapped[str]
