"""Legal transitions are data; a status changes only here, with an event row (★3).

A domain's `states.py` holds its dictionary (`TRANSITIONS: dict[str, frozenset[str]]`) and nothing else.
`transition` checks it, writes the status, and adds the event in the same transaction.

Events of the kinds in PUBLISHED are told outside too (`backend.events`): each has a row in the outbox, written with
it, from which deliveries are made. Within one resource `seq` grows with time, since whoever moves a row holds it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, func
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.core.db import Base, Doorbell, Identified, TenantOwned, ring_after_commit
from backend.core.ids import new_id

Transitions = Mapping[str, frozenset[str]]
PUBLISHED = frozenset({"job", "endpoint"})
PUBLISH = Doorbell("events.control")


class IllegalTransition(Exception):
    """A controller tried a move that `states.py` does not know: a bug, not bad input."""


class Event(Identified, TenantOwned, Base):
    """One status change: from, to, why, who, when."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_resource", "organization_id", "resource_kind", "resource_id", "at"),)

    resource_kind: Mapped[str]
    resource_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    from_status: Mapped[str | None]
    to_status: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str]


class OutboxEvent(TenantOwned, Base):
    """An event that nobody outside has been told of yet; gone once its deliveries are rows."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_seq", "seq"), Index("ix_outbox_organization", "organization_id", "seq"))
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - SQLAlchemy reads it from the class

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    resource_kind: Mapped[str]
    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))


class Stateful(Protocol):
    """What `transition` needs of a row."""

    id: Any
    organization_id: Any
    status: Any
    status_reason: Any


def record_creation(session: Session, kind: str, row: Stateful, *, reason: str, actor: str) -> None:
    """The first event of a row, from nothing to its first status."""
    _add_event(session, kind, row, None, reason=reason, actor=actor)


def transition(
    session: Session, kind: str, row: Stateful, to: str, transitions: Transitions, *, reason: str, actor: str
) -> None:
    """Move `row` to status `to`. Raises IllegalTransition when `transitions` does not allow it."""
    if to not in transitions.get(row.status, frozenset()):
        raise IllegalTransition(f"{kind} {row.id}: {row.status} → {to} is not a legal transition")
    before = row.status
    row.status = to
    row.status_reason = reason
    _add_event(session, kind, row, before, reason=reason, actor=actor)


def _add_event(session: Session, kind: str, row: Stateful, before: str | None, *, reason: str, actor: str) -> None:
    event_id = new_id()
    session.add(
        Event(
            id=event_id,
            organization_id=row.organization_id,
            resource_kind=kind,
            resource_id=row.id,
            from_status=before,
            to_status=row.status,
            reason=reason,
            actor=actor,
        )
    )
    if kind in PUBLISHED:
        session.add(OutboxEvent(organization_id=row.organization_id, event_id=event_id, resource_kind=kind))
        ring_after_commit(session, PUBLISH)
