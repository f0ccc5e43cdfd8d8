"""What is sent in an attempt, and what follows from how it went: done, tried again later, given up, disabled."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core import queue
from backend.core.clock import database_now
from backend.core.crypto import Undecipherable
from backend.core.db import Scope
from backend.core.errors import DomainError
from backend.core.queue import Lease
from backend.core.settings import EventSettings, Settings
from backend.events import mailing, signing
from backend.events.addresses import read_url
from backend.events.models import EventDelivery, EventDeliveryAttempt, EventSubscription
from backend.events.posting import Outcome, post
from backend.events.repository import EventRepository
from backend.events.service import disable, secret_purpose
from backend.identity.vault import Vault


@dataclass(frozen=True)
class Message:
    """One attempt, ready to be made with no session open."""

    subscription_id: UUID
    channel: str
    target: str
    identity: str
    body: str
    secret: str = ""


def prepare(session: Session, vault: Vault, settings: Settings, lease: Lease) -> Message | None:
    """What to send. None = the lease is lost, or there is nothing to send to; that is recorded."""
    delivery = queue.load_leased(session, EventDelivery, lease)
    if delivery is None:
        return None
    queue.renew(delivery, lease_seconds=settings.control.lease_seconds)
    scope = Scope(lease.organization_id)
    subscription = EventRepository(session, scope).subscription(delivery.subscription_id)
    if subscription is None or subscription.disabled_at is not None:
        reason = subscription.disabled_reason if subscription else "it is gone"
        _give_up(session, delivery, f"the subscription was disabled: {reason}")
        return None
    secret = ""
    if subscription.secret_encrypted is not None:
        try:
            purpose = secret_purpose(subscription.id)
            secret = vault.decrypt(session, scope, subscription.secret_encrypted, purpose=purpose).decode()
        except Undecipherable as error:
            disable(session, subscription, f"its signing secret cannot be read: {error}")
            return None
    return Message(
        subscription.id,
        subscription.channel,
        subscription.target,
        signing.message_id(delivery.event_id),
        delivery.body,
        secret,
    )


def send(settings: Settings, message: Message) -> Outcome:
    """One attempt, with no session open. Never raises."""
    timeout = settings.events.timeout_seconds
    if message.channel == "email":
        mail = mailing.compose(settings.smtp, to=message.target, identity=message.identity, body=message.body)
        return mailing.send(settings.smtp, mail, timeout=timeout)
    allowed = settings.events.allowed_hosts
    try:
        target = read_url(message.target, allowed)
    except DomainError as error:
        return Outcome(ok=False, error=error.detail)
    body = message.body.encode()
    headers = signing.headers(message.secret, message.identity, int(time.time()), body)
    return post(target, body, headers, timeout=timeout, allowed_hosts=allowed)


def record(session: Session, settings: EventSettings, lease: Lease, outcome: Outcome, *, duration_ms: int) -> bool:
    """Write the attempt and what follows, if the lease still holds. False = somebody else owns the delivery."""
    delivery = queue.load_leased(session, EventDelivery, lease)
    if delivery is None:
        return False
    repository = EventRepository(session, Scope(lease.organization_id))
    subscription = repository.subscription(delivery.subscription_id, lock=True)
    delivery.attempt_count += 1
    delivery.last_response_status, delivery.last_error = outcome.status, outcome.error
    repository.add(
        EventDeliveryAttempt(
            delivery_id=delivery.id,
            number=delivery.attempt_count,
            duration_ms=duration_ms,
            response_status=outcome.status,
            response_text=outcome.text,
            error=outcome.error,
        )
    )
    now = database_now(session)
    if outcome.ok:
        _deliver(session, repository, delivery, subscription, now)
    else:
        _retry(session, settings, repository, delivery, now)
        if subscription is not None:
            _count_failure(session, settings, subscription, outcome, now)
    return True


def _deliver(
    session: Session,
    repository: EventRepository,
    delivery: EventDelivery,
    subscription: EventSubscription | None,
    now: datetime,
) -> None:
    _close(delivery)
    delivery.delivered_at, delivery.failed_at = now, None
    session.flush()
    repository.reschedule_after(delivery, None)
    if subscription is not None:
        subscription.failures, subscription.failing_since = 0, None


def _retry(
    session: Session, settings: EventSettings, repository: EventRepository, delivery: EventDelivery, now: datetime
) -> None:
    if delivery.due_at is None:  # given up meanwhile: the subscription was disabled
        delivery.lease_token, delivery.lease_expires_at = None, None
        return
    waits = settings.retry_seconds
    wait = timedelta(seconds=waits[min(delivery.attempt_count, len(waits)) - 1])
    if now + wait > delivery.created_at + timedelta(seconds=settings.give_up_seconds):
        _give_up(session, delivery, delivery.last_error)
        repository.reschedule_after(delivery, None)
        return
    _close(delivery)
    delivery.due_at = now + wait
    session.flush()
    repository.reschedule_after(delivery, delivery.due_at)


def _count_failure(
    session: Session, settings: EventSettings, subscription: EventSubscription, outcome: Outcome, now: datetime
) -> None:
    subscription.failures += 1
    subscription.failing_since = subscription.failing_since or now
    failing = (now - subscription.failing_since).total_seconds()
    if outcome.gone:
        disable(session, subscription, "its receiver answered 410: it wants no more")
    elif subscription.failures >= settings.disable_after_failures and failing >= settings.disable_after_seconds:
        disable(session, subscription, f"{subscription.failures} attempts in a row failed, the last: {outcome.error}")


def _give_up(session: Session, delivery: EventDelivery, why: str) -> None:
    now = database_now(session)
    _close(delivery)
    delivery.failed_at, delivery.last_error = now, why
    session.flush()


def _close(delivery: EventDelivery) -> None:
    """Give the lease back, and with it the place in the queue."""
    delivery.lease_token, delivery.lease_expires_at, delivery.due_at = None, None, None
