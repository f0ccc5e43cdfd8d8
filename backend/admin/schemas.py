"""What the operators' API takes and gives."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.billing.schemas import CURRENCY, Amount, Exact
from backend.core.fields import DisplayName, Moment

MOST_INSTANCES = 100_000
MOST_REQUESTS = 10_000_000
Sku = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", examples=["inference:call"])]
PerMinute = Annotated[int, Field(ge=0, le=MOST_REQUESTS)]
InstanceCount = Annotated[int, Field(ge=0, le=MOST_INSTANCES)]
TypeName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class PriceSet(BaseModel):
    """A price of one unit of a SKU in US dollars, from a moment on; without one, from now."""

    model_config = ConfigDict(extra="forbid")

    sku: Sku
    amount: Amount
    effective_from: Moment | None = None
    description: DisplayName | None = None


class PriceChangeView(BaseModel):
    """What a change would do: `was` is the price then in force (null = none), the counts are of what runs now."""

    model_config = ConfigDict(from_attributes=True)

    sku: str
    unit: str
    was: Exact | None
    amount: Exact
    currency: str = CURRENCY
    effective_from: datetime | None
    instances: int
    endpoints: int
    organizations: int


class OrganizationView(BaseModel):
    """An organization as operators see it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    account_id: str
    name: str
    requests_per_minute: int | None
    created_at: datetime


class Limits(BaseModel):
    """What bounds an organization.

    `requests_per_minute` of each of its credentials: null = the platform's usual number, 0 = any number. `quotas`: how
    many instances at once, by instance type; `*` = of all types together.
    """

    organization_id: UUID
    requests_per_minute: int | None
    quotas: dict[str, int]


class LimitsChange(BaseModel):
    """What to change; what is absent stays. Null for the rate: the usual number; for a quota: none any more."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: PerMinute | None = None
    quotas: Annotated[dict[TypeName, InstanceCount | None], Field(max_length=100)] = Field(default_factory=dict)
