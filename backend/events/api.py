"""REST routes of events told outside: subscriptions, and the log of what was sent."""

import json
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, status

from backend.core.http import Manager, Reader, Transaction
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.core.settings import Settings
from backend.events import service, signing
from backend.events.errors import (
    DeliveryNotFound,
    DeliveryPending,
    EmailNotConfigured,
    SubscriptionDisabled,
    SubscriptionNotFound,
    TargetRefused,
    TooManySubscriptions,
)
from backend.events.models import EventDelivery
from backend.events.repository import DeliveryFilter
from backend.events.schemas import (
    AttemptRead,
    DeliveryDetail,
    DeliveryRead,
    DeliveryState,
    EventTypes,
    SecretRotated,
    SubscriptionCreate,
    SubscriptionCreated,
    SubscriptionRead,
    SubscriptionUpdate,
)
from backend.events.types import PATTERNS
from backend.identity.vault import Vault
from backend.projects.errors import ProjectNotFound

router = APIRouter(prefix="/api/v1", tags=["events"])


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _vault(request: Request) -> Vault:
    vault: Vault = request.app.state.security.vault
    return vault


@router.get("/event-types")
def list_event_types(_principal: Reader) -> EventTypes:
    """What can be subscribed to: single types, and patterns for several."""
    return EventTypes(items=list(PATTERNS))


@router.post(
    "/event-subscriptions",
    status_code=status.HTTP_201_CREATED,
    responses=raises(TargetRefused, EmailNotConfigured, ProjectNotFound, TooManySubscriptions),
)
def create_event_subscription(
    body: SubscriptionCreate, request: Request, principal: Manager, session: Transaction
) -> SubscriptionCreated:
    """Be told of events. A webhook's signing secret is in this answer and nowhere else."""
    made = service.create_subscription(session, _vault(request), _settings(request), principal, body)
    shown = SubscriptionRead.model_validate(made.subscription).model_dump()
    return SubscriptionCreated(**shown, secret=made.secret)


@router.get("/event-subscriptions")
def list_event_subscriptions(principal: Reader, session: Transaction, page: PageParameters) -> Page[SubscriptionRead]:
    """List subscriptions, newest first."""
    rows, cursor = service.list_subscriptions(session, principal.scope, page)
    return Page(items=[SubscriptionRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/event-subscriptions/{subscription_id}", responses=raises(SubscriptionNotFound))
def get_event_subscription(subscription_id: UUID, principal: Reader, session: Transaction) -> SubscriptionRead:
    """Read one subscription."""
    return SubscriptionRead.model_validate(service.get_subscription(session, principal.scope, subscription_id))


@router.patch(
    "/event-subscriptions/{subscription_id}",
    responses=raises(SubscriptionNotFound, TargetRefused, EmailNotConfigured),
)
def update_event_subscription(
    subscription_id: UUID, body: SubscriptionUpdate, request: Request, principal: Manager, session: Transaction
) -> SubscriptionRead:
    """Change a subscription; `enabled` true takes a disabled one up again."""
    changed = service.update_subscription(session, _settings(request), principal, subscription_id, body)
    return SubscriptionRead.model_validate(changed)


@router.delete(
    "/event-subscriptions/{subscription_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=raises(SubscriptionNotFound),
)
def delete_event_subscription(subscription_id: UUID, principal: Manager, session: Transaction) -> None:
    """Delete a subscription with its log."""
    service.delete_subscription(session, principal, subscription_id)


@router.post(
    "/event-subscriptions/{subscription_id}/rotate-secret", responses=raises(SubscriptionNotFound, TargetRefused)
)
def rotate_event_secret(
    subscription_id: UUID, request: Request, principal: Manager, session: Transaction
) -> SecretRotated:
    """Give a webhook a new signing secret; the old one signs nothing any more."""
    return SecretRotated(secret=service.rotate_secret(session, _vault(request), principal, subscription_id))


@router.post(
    "/event-subscriptions/{subscription_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    responses=raises(SubscriptionNotFound, SubscriptionDisabled),
)
def send_test_event(subscription_id: UUID, principal: Manager, session: Transaction) -> DeliveryRead:
    """Send a message that is about nothing, of type `test.sent`."""
    return delivery_read(service.send_test(session, principal, subscription_id))


@router.get("/event-deliveries", responses=raises(SubscriptionNotFound))
def list_event_deliveries(
    principal: Reader,
    session: Transaction,
    page: PageParameters,
    *,
    subscription_id: UUID | None = None,
    state: DeliveryState | None = None,
    event_type: Annotated[str | None, Query(max_length=100, description="such as job.completed")] = None,
    resource_id: UUID | None = None,
) -> Page[DeliveryRead]:
    """List what was sent and is to be sent, newest first."""
    where = DeliveryFilter(subscription_id, state, event_type, resource_id)
    rows, cursor = service.list_deliveries(session, principal.scope, where, page)
    return Page(items=[delivery_read(row) for row in rows], next_cursor=cursor)


@router.get("/event-deliveries/{delivery_id}", responses=raises(DeliveryNotFound))
def get_event_delivery(delivery_id: UUID, principal: Reader, session: Transaction) -> DeliveryDetail:
    """Read one delivery: what was sent, and what each attempt was answered."""
    found = service.get_delivery(session, principal.scope, delivery_id)
    return DeliveryDetail(
        **delivery_read(found.delivery).model_dump(),
        payload=json.loads(found.delivery.body),
        attempts=[AttemptRead.model_validate(attempt) for attempt in found.attempts],
    )


@router.post(
    "/event-deliveries/{delivery_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    responses=raises(DeliveryNotFound, DeliveryPending, SubscriptionDisabled),
)
def replay_event_delivery(delivery_id: UUID, principal: Manager, session: Transaction) -> DeliveryRead:
    """Send the same message again, under the same `webhook-id`."""
    return delivery_read(service.replay_delivery(session, principal, delivery_id))


def delivery_read(row: EventDelivery) -> DeliveryRead:
    """A delivery as callers see it."""
    state: DeliveryState = "delivered" if row.delivered_at else "failed" if row.failed_at else "pending"
    return DeliveryRead(
        id=row.id,
        subscription_id=row.subscription_id,
        event_id=signing.message_id(row.event_id),
        event_type=row.event_type,
        resource_kind=row.resource_kind,
        resource_id=row.resource_id,
        resource_name=row.resource_name,
        state=state,
        attempt_count=row.attempt_count,
        next_attempt_at=row.due_at,
        last_response_status=row.last_response_status,
        last_error=row.last_error,
        replay_of=row.replay_of,
        created_at=row.created_at,
        delivered_at=row.delivered_at,
        failed_at=row.failed_at,
    )
