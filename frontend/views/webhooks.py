"""What the pages of webhooks show, and how it is read from the domain's services."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.auth import Principal
from backend.core.pagination import MAX_LIMIT, PageRequest
from backend.events import service as events
from backend.events.models import EventDelivery, EventSubscription
from backend.events.repository import DeliveryFilter
from backend.events.signing import message_id
from backend.events.types import EVENT_TYPES, TEST_TYPE

STATES = ("pending", "delivered", "failed")
KINDS = ("job", "endpoint")
PAGES = {"job": "/training/{}", "endpoint": "/endpoints/{}"}


@dataclass(frozen=True, kw_only=True)
class SubscriptionView:
    """One subscription."""

    id: str
    channel: str
    target: str
    description: str
    event_types: Sequence[str]
    project_id: str | None
    created_at: datetime
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str
    failures: int
    failing_since: datetime | None

    @property
    def state(self) -> str:
        """A word for how it is going."""
        return "disabled" if not self.enabled else "failing" if self.failures else "active"


@dataclass(frozen=True, kw_only=True)
class DeliveryView:
    """One message for one subscription."""

    id: str
    message: str
    subscription_id: str
    target: str
    event_type: str
    resource_kind: str
    resource_name: str
    resource_path: str | None
    state: str
    attempt_count: int
    next_attempt_at: datetime | None
    response_status: int | None
    error: str
    created_at: datetime
    ended_at: datetime | None
    replay_of: str | None


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """One try; `milliseconds` until there was an answer or none."""

    number: int
    at: datetime
    milliseconds: int
    response_status: int | None
    response_text: str
    error: str


@dataclass(frozen=True, kw_only=True)
class DeliveryDetail:
    """A delivery with what was sent, as indented JSON, and its attempts, newest first."""

    delivery: DeliveryView
    payload: str
    attempts: Sequence[AttemptView]


@dataclass(frozen=True, kw_only=True)
class Log:
    """A page of the delivery log."""

    deliveries: Sequence[DeliveryView]
    next_cursor: str | None
    states: Sequence[str] = STATES
    event_types: Sequence[str] = (*EVENT_TYPES, TEST_TYPE)

    @property
    def live(self) -> bool:
        """Whether something is still to be sent."""
        return any(each.state == "pending" for each in self.deliveries)


@dataclass(frozen=True, kw_only=True)
class TypeChoice:
    """One box of the form: its place among the fields, and what it stands for."""

    field: str
    pattern: str
    kind: str
    whole: bool


def choices() -> list[TypeChoice]:
    """The boxes of the form: of each kind all, then each status."""
    patterns = [(kind, f"{kind}.*") for kind in KINDS]
    patterns += [(each.partition(".")[0], each) for each in EVENT_TYPES]
    ordered = sorted(patterns, key=lambda pair: (KINDS.index(pair[0]), not pair[1].endswith("*")))
    return [
        TypeChoice(field=f"event_types.{place}", pattern=pattern, kind=kind, whole=pattern.endswith("*"))
        for place, (kind, pattern) in enumerate(ordered)
    ]


def typed_from(subscription: SubscriptionView) -> dict[str, str]:
    """The form's fields as the subscription is now."""
    values = {"target": subscription.target, "description": subscription.description}
    every = "*" in subscription.event_types
    for choice in choices():
        if choice.pattern in subscription.event_types or (every and choice.whole):
            values[choice.field] = choice.pattern
    return values


def list_subscriptions(session: Session, viewer: Principal) -> list[SubscriptionView]:
    """All: there are fifty at most."""
    rows, _ = events.list_subscriptions(session, viewer.scope, PageRequest(limit=MAX_LIMIT))
    return [_subscription(row) for row in rows]


def get_subscription(session: Session, viewer: Principal, subscription_id: UUID) -> SubscriptionView:
    """One. Raises SubscriptionNotFound."""
    return _subscription(events.get_subscription(session, viewer.scope, subscription_id))


def read_log(session: Session, viewer: Principal, where: DeliveryFilter, page: PageRequest) -> Log:
    """A page of the log. Raises SubscriptionNotFound, InvalidCursor."""
    rows, cursor = events.list_deliveries(session, viewer.scope, where, page)
    targets = {view.id: view.target for view in list_subscriptions(session, viewer)}
    return Log(deliveries=[_delivery(row, targets) for row in rows], next_cursor=cursor)


def get_delivery(session: Session, viewer: Principal, delivery_id: UUID) -> DeliveryDetail:
    """One with its attempts. Raises DeliveryNotFound."""
    found = events.get_delivery(session, viewer.scope, delivery_id)
    target = get_subscription(session, viewer, found.delivery.subscription_id).target
    attempts = [
        AttemptView(
            number=row.number,
            at=row.at,
            milliseconds=row.duration_ms,
            response_status=row.response_status,
            response_text=row.response_text,
            error=row.error,
        )
        for row in reversed(found.attempts)
    ]
    payload = json.dumps(json.loads(found.delivery.body), indent=2, ensure_ascii=False)
    targets = {str(found.delivery.subscription_id): target}
    return DeliveryDetail(delivery=_delivery(found.delivery, targets), payload=payload, attempts=attempts)


def _subscription(row: EventSubscription) -> SubscriptionView:
    return SubscriptionView(
        id=str(row.id),
        channel=row.channel,
        target=row.target,
        description=row.description,
        event_types=row.event_types,
        project_id=str(row.project_id) if row.project_id else None,
        created_at=row.created_at,
        enabled=row.disabled_at is None,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        failures=row.failures,
        failing_since=row.failing_since,
    )


def _delivery(row: EventDelivery, targets: dict[str, str]) -> DeliveryView:
    path = PAGES.get(row.resource_kind)
    return DeliveryView(
        id=str(row.id),
        message=message_id(row.event_id),
        subscription_id=str(row.subscription_id),
        target=targets.get(str(row.subscription_id), ""),
        event_type=row.event_type,
        resource_kind=row.resource_kind,
        resource_name=row.resource_name,
        resource_path=path.format(row.resource_id) if path else None,
        state="delivered" if row.delivered_at else "failed" if row.failed_at else "pending",
        attempt_count=row.attempt_count,
        next_attempt_at=row.due_at,
        response_status=row.last_response_status,
        error=row.last_error,
        created_at=row.created_at,
        ended_at=row.delivered_at or row.failed_at,
        replay_of=str(row.replay_of) if row.replay_of else None,
    )
