"""From the outbox to deliveries: one for each subscription that wants an event, in the outbox's order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.clock import database_now
from backend.core.db import Scope, act_as
from backend.core.lifecycle import Event, OutboxEvent
from backend.endpoints import service as endpoints
from backend.events.models import EventDelivery, EventSubscription
from backend.events.repository import EventRepository, next_to_publish
from backend.events.types import wanted
from backend.jobs import service as jobs

BATCH: Final = 500


@dataclass(frozen=True)
class Resource:
    """What an event is about."""

    name: str
    project_id: UUID
    job_kind: str | None


def publish_next(session: Session) -> int:
    """Publish a batch of one organization, in this transaction, which is the controller's; how many events it was.

    0 = nothing waits, or another worker publishes. All or nothing of the batch is recorded.
    """
    organization_id = next_to_publish(session)
    if organization_id is None:
        return 0
    act_as(session, organization_id)
    scope = Scope(organization_id)
    repository = EventRepository(session, scope)
    taken = repository.take(BATCH)
    subscriptions = repository.told()
    if subscriptions:
        events = [event for _, event in taken]
        resources = _resources(session, scope, events)
        now = database_now(session)
        made = [
            delivery
            for entry, event in taken
            for delivery in _deliveries(entry, event, resources.get(event.resource_id), subscriptions)
        ]
        for delivery in made:
            delivery.due_at = now
        repository.add(*made)
    repository.forget([entry.event_id for entry, _ in taken])
    return len(taken)


def _resources(session: Session, scope: Scope, events: Sequence[Event]) -> Mapping[UUID, Resource]:
    ids: dict[str, set[UUID]] = {"job": set(), "endpoint": set()}
    for event in events:
        ids[event.resource_kind].add(event.resource_id)
    found = {
        id_: Resource(job.name, job.project_id, job.kind)
        for id_, job in jobs.find_jobs(session, scope, ids["job"]).items()
    }
    return found | {
        id_: Resource(endpoint.name, endpoint.project_id, None)
        for id_, endpoint in endpoints.find_endpoints(session, scope, ids["endpoint"]).items()
    }


def _deliveries(
    entry: OutboxEvent, event: Event, resource: Resource | None, subscriptions: Sequence[EventSubscription]
) -> list[EventDelivery]:
    if resource is None:
        return []
    event_type = f"{event.resource_kind}.{event.to_status}"
    body = _body(event_type, event, resource)
    return [
        EventDelivery(
            subscription_id=subscription.id,
            event_id=event.id,
            seq=entry.seq,
            event_type=event_type,
            resource_kind=event.resource_kind,
            resource_id=event.resource_id,
            resource_name=resource.name,
            body=body,
        )
        for subscription in subscriptions
        if wanted(event_type, subscription.event_types) and subscription.project_id in {None, resource.project_id}
    ]


def _body(event_type: str, event: Event, resource: Resource) -> str:
    data = {
        "organization_id": str(event.organization_id),
        "project_id": str(resource.project_id),
        "resource": {
            "kind": event.resource_kind,
            "id": str(event.resource_id),
            "name": resource.name,
            "job_kind": resource.job_kind,
        },
        "from": event.from_status,
        "to": event.to_status,
        "reason": event.reason,
        "actor": event.actor,
    }
    return json.dumps({"type": event_type, "timestamp": event.at.isoformat(), "data": data}, separators=(",", ":"))
