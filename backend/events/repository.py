"""All SQL of events told outside."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, not_, select, update
from sqlalchemy.orm import Session, aliased

from backend.core.db import Scope
from backend.core.lifecycle import Event, OutboxEvent
from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.events.models import EventDelivery, EventDeliveryAttempt, EventSubscription

DELIVERY_SORTS: Sorts = {"created_at": [EventDelivery.created_at, EventDelivery.id]}
PUBLISH_LOCK = 0x4D59_0002
"""One publisher at a time in the whole cluster, so that deliveries are made in the outbox's order."""
MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class DeliveryFilter:
    """What the log is narrowed to; None = any."""

    subscription_id: UUID | None = None
    state: str | None = None
    event_type: str | None = None
    resource_id: UUID | None = None


class EventRepository:
    """Subscriptions, deliveries and the outbox of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    def add(self, *rows: EventSubscription | EventDelivery | EventDeliveryAttempt) -> None:
        """Insert rows now, so that a broken constraint shows here."""
        for row in rows:
            row.organization_id = self._organization_id
        self._session.add_all(rows)
        self._session.flush()

    # --- subscriptions ----------------------------------------------------------------------------

    def count_locked(self) -> int:
        """How many subscriptions there are; whoever else counts waits until this transaction ends."""
        key = func.hashtextextended(f"event_subscriptions:{self._organization_id}", 0)
        self._session.execute(select(func.pg_advisory_xact_lock(key)))
        query = select(func.count()).where(EventSubscription.organization_id == self._organization_id)
        return self._session.scalar(query) or 0

    def subscription(self, subscription_id: UUID, *, lock: bool = False) -> EventSubscription | None:
        """One subscription."""
        query = select(EventSubscription).where(
            EventSubscription.organization_id == self._organization_id, EventSubscription.id == subscription_id
        )
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()

    def subscriptions(self, page: PageRequest) -> tuple[list[EventSubscription], str | None]:
        """Newest first, and the cursor of the next page."""
        query = select(EventSubscription).where(EventSubscription.organization_id == self._organization_id)
        return fetch_page(self._session, query, page, keys=[EventSubscription.created_at, EventSubscription.id])

    def told(self) -> Sequence[EventSubscription]:
        """Those that are not disabled."""
        return self._session.scalars(
            select(EventSubscription).where(
                EventSubscription.organization_id == self._organization_id, EventSubscription.disabled_at.is_(None)
            )
        ).all()

    def delete_subscription(self, subscription: EventSubscription) -> None:
        """With its deliveries and their attempts."""
        self._session.delete(subscription)
        self._session.flush()

    # --- the outbox -------------------------------------------------------------------------------

    def take(self, limit: int) -> Sequence[tuple[OutboxEvent, Event]]:
        """The oldest events of the outbox, in order."""
        rows = self._session.execute(
            select(OutboxEvent, Event)
            .join(Event, and_(Event.id == OutboxEvent.event_id, Event.organization_id == OutboxEvent.organization_id))
            .where(OutboxEvent.organization_id == self._organization_id)
            .order_by(OutboxEvent.seq)
            .limit(limit)
        )
        return [(row[0], row[1]) for row in rows]

    def forget(self, event_ids: Collection[UUID]) -> None:
        """They have become deliveries."""
        self._session.execute(
            delete(OutboxEvent)
            .where(OutboxEvent.organization_id == self._organization_id, OutboxEvent.event_id.in_(event_ids))
            .execution_options(synchronize_session=False)
        )

    # --- deliveries -------------------------------------------------------------------------------

    def delivery(self, delivery_id: UUID) -> EventDelivery | None:
        """One delivery."""
        return self._session.scalars(
            select(EventDelivery).where(
                EventDelivery.organization_id == self._organization_id, EventDelivery.id == delivery_id
            )
        ).one_or_none()

    def deliveries(self, where: DeliveryFilter, page: PageRequest) -> tuple[list[EventDelivery], str | None]:
        """Newest first, and the cursor of the next page."""
        query = select(EventDelivery).where(EventDelivery.organization_id == self._organization_id)
        if where.subscription_id is not None:
            query = query.where(EventDelivery.subscription_id == where.subscription_id)
        if where.state is not None:
            query = query.where(_in_state(where.state))
        if where.event_type is not None:
            query = query.where(EventDelivery.event_type == where.event_type)
        if where.resource_id is not None:
            query = query.where(EventDelivery.resource_id == where.resource_id)
        keys = DELIVERY_SORTS["created_at"]
        return fetch_page(self._session, query, page, keys=keys, sorts=DELIVERY_SORTS)

    def attempts(self, delivery_id: UUID) -> Sequence[EventDeliveryAttempt]:
        """The last hundred, first to last."""
        rows = self._session.scalars(
            select(EventDeliveryAttempt)
            .where(
                EventDeliveryAttempt.organization_id == self._organization_id,
                EventDeliveryAttempt.delivery_id == delivery_id,
            )
            .order_by(EventDeliveryAttempt.number.desc())
            .limit(MOST_ATTEMPTS)
        ).all()
        return rows[::-1]

    def fail_pending(self, subscription_id: UUID, why: str) -> None:
        """What waits for a subscription that is disabled is not sent."""
        self._session.execute(
            update(EventDelivery)
            .where(
                EventDelivery.organization_id == self._organization_id,
                EventDelivery.subscription_id == subscription_id,
                EventDelivery.due_at.is_not(None),
            )
            .values(failed_at=func.clock_timestamp(), due_at=None, last_error=why)
            .execution_options(synchronize_session=False)
        )

    def reschedule_after(self, delivery: EventDelivery, due_at: datetime | None) -> None:
        """What waits behind this delivery is due when it is (None = now): until then nobody need look at it."""
        if delivery.seq is None:
            return
        self._session.execute(
            update(EventDelivery)
            .where(
                EventDelivery.subscription_id == delivery.subscription_id,
                EventDelivery.resource_id == delivery.resource_id,
                EventDelivery.seq > delivery.seq,
                EventDelivery.due_at.is_not(None),
            )
            .values(due_at=func.clock_timestamp() if due_at is None else due_at)
            .execution_options(synchronize_session=False)
        )


def _in_state(state: str) -> ColumnElement[bool]:
    if state == "delivered":
        return EventDelivery.delivered_at.is_not(None)
    if state == "failed":
        return EventDelivery.failed_at.is_not(None)
    return EventDelivery.due_at.is_not(None)


def ready(without: Collection[UUID]) -> ColumnElement[bool]:
    """For a claim: no earlier one about the same resource is pending, and none of these subscriptions."""
    earlier = aliased(EventDelivery)
    blocked = exists().where(
        earlier.subscription_id == EventDelivery.subscription_id,
        earlier.resource_id == EventDelivery.resource_id,
        earlier.seq < EventDelivery.seq,
        earlier.due_at.is_not(None),
    )
    free = not_(blocked)
    return and_(free, EventDelivery.subscription_id.not_in(without)) if without else free


# --- as controller, before it becomes a tenant's ----------------------------------------------------


def next_to_publish(session: Session) -> UUID | None:
    """Whose event is the oldest in the outbox; None = there is none, or somebody else publishes."""
    if not session.scalar(select(func.pg_try_advisory_xact_lock(PUBLISH_LOCK))):
        return None
    return session.scalar(select(OutboxEvent.organization_id).order_by(OutboxEvent.seq).limit(1))


def purge(session: Session, *, days: int, limit: int) -> int:
    """Delete deliveries that are over and older than the log is kept; returns how many."""
    old = (
        select(EventDelivery.id)
        .where(
            EventDelivery.due_at.is_(None),
            EventDelivery.created_at < func.clock_timestamp() - timedelta(days=days),
        )
        .limit(limit)
    )
    gone: Any = session.execute(
        delete(EventDelivery).where(EventDelivery.id.in_(old)).execution_options(synchronize_session=False)
    )
    return int(gone.rowcount)
