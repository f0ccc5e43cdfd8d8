"""What the API answers about subscriptions to events and their deliveries, as `modelyard.types` does for the rest."""

from datetime import datetime
from typing import Any

import msgspec


class Subscription(msgspec.Struct, frozen=True):
    """Somebody who is told of events. `secret` signs a webhook and is told once, when it is made."""

    id: str
    channel: str
    target: str
    description: str
    event_types: list[str]
    project_id: str | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str
    failures: int
    secret: str | None = None


class Delivery(msgspec.Struct, frozen=True):
    """One message for one subscription. `attempts` and `payload` only where one delivery was asked for."""

    id: str
    subscription_id: str
    event_id: str
    event_type: str
    resource_kind: str
    resource_id: str
    resource_name: str
    state: str
    attempt_count: int
    created_at: datetime
    last_response_status: int | None = None
    last_error: str = ""
    delivered_at: datetime | None = None
    failed_at: datetime | None = None
    payload: dict[str, Any] = {}
    attempts: list[dict[str, Any]] = []
