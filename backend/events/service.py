"""Use cases of subscriptions and of the delivery log. What is sent, and when, is `publishing`'s and `outcomes`'s."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit.service import record as audit
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.ids import new_id
from backend.core.pagination import PageRequest
from backend.core.settings import Settings
from backend.events import signing
from backend.events.addresses import read_url
from backend.events.errors import (
    DeliveryNotFound,
    DeliveryPending,
    EmailNotConfigured,
    SubscriptionDisabled,
    SubscriptionNotFound,
    TargetRefused,
    TooManySubscriptions,
)
from backend.events.models import EventDelivery, EventDeliveryAttempt, EventSubscription
from backend.events.repository import DeliveryFilter, EventRepository
from backend.events.schemas import SubscriptionCreate, SubscriptionUpdate
from backend.events.types import TEST_TYPE
from backend.identity.vault import Vault
from backend.projects.service import get_project

CONTROL = Doorbell("events.control")
MOST_SUBSCRIPTIONS = 50
KIND = "event_subscription"
BY_HAND = "disabled by hand"


@dataclass(frozen=True)
class NewSubscription:
    """A subscription at its birth: the only time its secret is told. E-mail has none."""

    subscription: EventSubscription
    secret: str | None


@dataclass(frozen=True)
class DeliveryWithAttempts:
    """A delivery and its attempts, first to last."""

    delivery: EventDelivery
    attempts: Sequence[EventDeliveryAttempt]


def create_subscription(
    session: Session, vault: Vault, settings: Settings, principal: Principal, request: SubscriptionCreate
) -> NewSubscription:
    """Raises TargetRefused, EmailNotConfigured, ProjectNotFound, TooManySubscriptions."""
    scope = principal.scope
    repository = EventRepository(session, scope)
    _check_target(settings, request.channel, request.target)
    if request.project_id is not None:
        get_project(session, scope, request.project_id)
    if repository.count_locked() >= MOST_SUBSCRIPTIONS:
        raise TooManySubscriptions(f"there are {MOST_SUBSCRIPTIONS} subscriptions, and there may not be more")
    subscription = EventSubscription(
        id=new_id(),
        channel=request.channel,
        target=request.target,
        description=request.description,
        event_types=request.event_types,
        project_id=request.project_id,
        created_by=principal.actor,
    )
    secret = signing.new_secret() if request.channel == "webhook" else None
    if secret is not None:
        subscription.secret_encrypted = _sealed(session, vault, scope, subscription.id, secret)
    repository.add(subscription)
    session.refresh(subscription)
    _record(session, principal, "event_subscription.create", subscription, {"target": request.target})
    return NewSubscription(subscription, secret)


def _check_target(settings: Settings, channel: str, target: str) -> None:
    if channel == "webhook":
        read_url(target, settings.events.allowed_hosts)
        return
    if settings.smtp.host is None:
        raise EmailNotConfigured("this platform has no mail server", field="channel")
    mailbox, at, domain = target.rpartition("@")
    if not (at and mailbox and "." in domain) or set(target) & set('@,;:<>()[]\\"') != {"@"} or "@" in mailbox:
        raise TargetRefused("this is no e-mail address", field="target", hint="write it like ada@example.com")


def _sealed(session: Session, vault: Vault, scope: Scope, subscription_id: UUID, secret: str) -> bytes:
    return vault.encrypt(session, scope, secret.encode(), purpose=secret_purpose(subscription_id))


def secret_purpose(subscription_id: UUID) -> str:
    """What a signing secret is encrypted for: this subscription and no other."""
    return f"event_subscriptions.secret:{subscription_id}"


def get_subscription(session: Session, scope: Scope, subscription_id: UUID) -> EventSubscription:
    """One subscription. Raises SubscriptionNotFound."""
    found = EventRepository(session, scope).subscription(subscription_id)
    if found is None:
        raise SubscriptionNotFound(f"there is no event subscription {subscription_id}")
    return found


def list_subscriptions(session: Session, scope: Scope, page: PageRequest) -> tuple[list[EventSubscription], str | None]:
    """Newest first, and the cursor of the next page."""
    return EventRepository(session, scope).subscriptions(page)


def update_subscription(
    session: Session, settings: Settings, principal: Principal, subscription_id: UUID, request: SubscriptionUpdate
) -> EventSubscription:
    """Change what is given. Raises SubscriptionNotFound, TargetRefused, EmailNotConfigured."""
    repository = EventRepository(session, principal.scope)
    subscription = repository.subscription(subscription_id, lock=True)
    if subscription is None:
        raise SubscriptionNotFound(f"there is no event subscription {subscription_id}")
    if request.target is not None:
        _check_target(settings, subscription.channel, request.target)
    for name in ("target", "event_types", "description"):
        value = getattr(request, name)
        if value is not None:
            setattr(subscription, name, value)
    if request.enabled is False and subscription.disabled_at is None:
        disable(session, subscription, BY_HAND)
    if request.enabled is True:
        subscription.disabled_at, subscription.disabled_reason = None, ""
        subscription.failures, subscription.failing_since = 0, None
    changed = sorted(request.model_dump(exclude_none=True))
    _record(session, principal, "event_subscription.update", subscription, {"changed": changed})
    session.flush()
    return subscription


def disable(session: Session, subscription: EventSubscription, reason: str) -> None:
    """Nothing is sent to it any more; what is pending has failed."""
    subscription.disabled_at = database_now(session)
    subscription.disabled_reason = reason
    repository = EventRepository(session, Scope(subscription.organization_id))
    repository.fail_pending(subscription.id, f"the subscription was disabled: {reason}")


def delete_subscription(session: Session, principal: Principal, subscription_id: UUID) -> None:
    """With its log. Raises SubscriptionNotFound."""
    subscription = get_subscription(session, principal.scope, subscription_id)
    _record(session, principal, "event_subscription.delete", subscription, {"target": subscription.target})
    EventRepository(session, principal.scope).delete_subscription(subscription)


def rotate_secret(session: Session, vault: Vault, principal: Principal, subscription_id: UUID) -> str:
    """A new signing secret; the old one signs nothing any more. Raises SubscriptionNotFound, TargetRefused (e-mail)."""
    subscription = get_subscription(session, principal.scope, subscription_id)
    if subscription.channel != "webhook":
        raise TargetRefused("e-mail is not signed", hint="only webhooks have a secret")
    secret = signing.new_secret()
    subscription.secret_encrypted = _sealed(session, vault, principal.scope, subscription.id, secret)
    _record(session, principal, "event_subscription.rotate_secret", subscription, {})
    return secret


# --- the log ----------------------------------------------------------------------------------------


def list_deliveries(
    session: Session, scope: Scope, where: DeliveryFilter, page: PageRequest
) -> tuple[list[EventDelivery], str | None]:
    """Newest first, and the cursor of the next page. Raises SubscriptionNotFound for one that is filtered by."""
    if where.subscription_id is not None:
        get_subscription(session, scope, where.subscription_id)
    return EventRepository(session, scope).deliveries(where, page)


def get_delivery(session: Session, scope: Scope, delivery_id: UUID) -> DeliveryWithAttempts:
    """One delivery with its attempts. Raises DeliveryNotFound."""
    repository = EventRepository(session, scope)
    delivery = repository.delivery(delivery_id)
    if delivery is None:
        raise DeliveryNotFound(f"there is no event delivery {delivery_id}")
    return DeliveryWithAttempts(delivery, repository.attempts(delivery_id))


def replay_delivery(session: Session, principal: Principal, delivery_id: UUID) -> EventDelivery:
    """Send the same message again, under the same id, out of order. Raises DeliveryNotFound, DeliveryPending,
    SubscriptionDisabled.
    """
    first = get_delivery(session, principal.scope, delivery_id).delivery
    if first.due_at is not None:
        raise DeliveryPending(f"the delivery is tried again at {first.due_at.isoformat()}")
    subscription = _told(session, principal.scope, first.subscription_id)
    again = EventDelivery(
        id=new_id(),
        subscription_id=first.subscription_id,
        event_id=first.event_id,
        event_type=first.event_type,
        resource_kind=first.resource_kind,
        resource_id=first.resource_id,
        resource_name=first.resource_name,
        body=first.body,
        replay_of=first.id,
        due_at=database_now(session),
    )
    return _send(session, principal, subscription, again, "event_delivery.replay")


def send_test(session: Session, principal: Principal, subscription_id: UUID) -> EventDelivery:
    """Send a message that is about nothing. Raises SubscriptionNotFound, SubscriptionDisabled."""
    subscription = _told(session, principal.scope, subscription_id)
    now = database_now(session)
    event_id = new_id()
    data = {
        "organization_id": str(principal.organization_id),
        "project_id": None,
        "resource": {"kind": KIND, "id": str(subscription.id), "name": "test", "job_kind": None},
        "from": None,
        "to": "sent",
        "reason": "somebody asked for a test",
        "actor": principal.actor,
    }
    test = EventDelivery(
        id=new_id(),
        subscription_id=subscription.id,
        event_id=event_id,
        event_type=TEST_TYPE,
        resource_kind=KIND,
        resource_id=subscription.id,
        resource_name="test",
        body=json.dumps({"type": TEST_TYPE, "timestamp": now.isoformat(), "data": data}, separators=(",", ":")),
        due_at=now,
    )
    return _send(session, principal, subscription, test, "event_subscription.test")


def _told(session: Session, scope: Scope, subscription_id: UUID) -> EventSubscription:
    subscription = get_subscription(session, scope, subscription_id)
    if subscription.disabled_at is not None:
        raise SubscriptionDisabled(f"the subscription is disabled: {subscription.disabled_reason}")
    return subscription


def _send(
    session: Session, principal: Principal, subscription: EventSubscription, delivery: EventDelivery, action: str
) -> EventDelivery:
    EventRepository(session, principal.scope).add(delivery)
    session.refresh(delivery)
    _record(session, principal, action, subscription, {"delivery_id": str(delivery.id)})
    ring_after_commit(session, CONTROL)
    return delivery


def _record(
    session: Session, principal: Principal, action: str, subscription: EventSubscription, detail: dict[str, object]
) -> None:
    audit(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind=KIND,
        resource_id=subscription.id,
        detail=detail,
    )
