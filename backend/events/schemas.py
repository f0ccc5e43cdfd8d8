"""What the API takes and gives about subscriptions to events and their deliveries."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from backend.core.fields import Description, Flag
from backend.events.types import EVENT_TYPES, PATTERNS, unknown

Channel = Literal["webhook", "email"]
DeliveryState = Literal["pending", "delivered", "failed"]


def _each_of(schema: dict[str, Any]) -> None:
    """Each item is one of the patterns."""
    schema["items"] = {"type": "string", "enum": list(PATTERNS)}


def _known(patterns: list[str]) -> list[str]:
    strange = unknown(patterns)
    if strange:
        raise ValueError(f"there is no event type {', '.join(strange)}; there are {', '.join(PATTERNS)}")
    return sorted(set(patterns))


Patterns = Annotated[
    list[str],
    Field(min_length=1, max_length=50, description=f"of {', '.join(PATTERNS)}", json_schema_extra=_each_of),
    AfterValidator(_known),
]  # fmt: skip
Target = Annotated[
    str,
    StringConstraints(min_length=3, max_length=2000, pattern=r"^[\x21-\x7e]+$"),
    Field(description="a URL for a webhook, an e-mail address for e-mail"),
]


class SubscriptionCreate(BaseModel):
    """Somebody who shall be told of events."""

    model_config = ConfigDict(extra="forbid")

    channel: Channel = "webhook"
    target: Target
    event_types: Patterns
    project_id: Annotated[UUID | None, Field(description="of this project only; else of all")] = None
    description: Description = ""


class SubscriptionUpdate(BaseModel):
    """Changes; what is left out stays. The channel cannot change."""

    model_config = ConfigDict(extra="forbid")

    target: Target | None = None
    event_types: Patterns | None = None
    description: Description | None = None
    enabled: Annotated[Flag | None, Field(description="false: nothing is sent, and what is pending has failed")] = None


class SubscriptionRead(BaseModel):
    """A subscription. `failures`: attempts that failed since the last success."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    channel: str
    target: str
    description: str
    event_types: list[str]
    project_id: UUID | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    disabled_reason: str
    failures: int
    failing_since: datetime | None


class SubscriptionCreated(SubscriptionRead):
    """A new subscription. A webhook's signing secret is in this answer and nowhere else."""

    secret: str | None


class SecretRotated(BaseModel):
    """The new signing secret: in this answer and nowhere else. The old one no longer signs anything."""

    secret: str


class DeliveryRead(BaseModel):
    """One message for one subscription. `event_id` is its `webhook-id`, the same in every attempt and replay."""

    id: UUID
    subscription_id: UUID
    event_id: str
    event_type: str
    resource_kind: str
    resource_id: UUID
    resource_name: str
    state: DeliveryState
    attempt_count: int
    next_attempt_at: datetime | None
    last_response_status: int | None
    last_error: str
    replay_of: UUID | None
    created_at: datetime
    delivered_at: datetime | None
    failed_at: datetime | None


class AttemptRead(BaseModel):
    """One try: what the receiver answered, or why it could not."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime
    duration_ms: int
    response_status: int | None
    response_text: str
    error: str


class DeliveryDetail(DeliveryRead):
    """A delivery with what was sent and every attempt (the last hundred), first to last."""

    payload: dict[str, Any]
    attempts: list[AttemptRead]


class EventTypes(BaseModel):
    """What can be subscribed to."""

    items: list[str] = Field(examples=[list(EVENT_TYPES)])
