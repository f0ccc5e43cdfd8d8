"""What the billing API takes and gives. Money and quantities are exact decimal strings."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from backend.billing import rating
from backend.billing.budgets import BudgetStatus
from backend.core.fields import Flag, Tags

Exact = Annotated[
    Decimal,
    PlainSerializer(rating.money, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": ["0.000012"]}, mode="serialization"),
]
CURRENCY = "USD"
LARGEST = Decimal(10**15)


def _writable(value: Decimal) -> Decimal:
    if not value.is_finite() or not 0 <= value < LARGEST or rating.decimals(value) > rating.PRICE_DECIMALS:
        raise ValueError("an amount is at least 0, below 10^15, with at most 9 decimals")
    return value


def _percents(values: list[int]) -> list[int]:
    if len(set(values)) != len(values):
        raise ValueError("alert percents are different whole numbers")
    return values


Amount = Annotated[
    Decimal,
    AfterValidator(_writable),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?$", "examples": ["100.00"]}, mode="validation"
    ),
]
Percents = Annotated[
    list[Annotated[int, Field(ge=1, le=1000)]],
    Field(max_length=10, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_percents),
]


class _View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ChargeView(_View):
    """A usage record, or the part of it under one price and variant."""

    id: UUID
    project_id: UUID
    usage_record_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    variant: str
    sku: str
    quantity: Exact
    unit: str
    unit_price: Exact
    amount: Exact
    from_at: datetime
    to_at: datetime
    currency: str = CURRENCY


class UsageView(_View):
    """What one source consumed of one SKU in [from_at, to_at). `rated_at` null = not charged yet."""

    id: UUID
    project_id: UUID
    source_kind: str
    source_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    sku: str
    quantity: Exact
    from_at: datetime
    to_at: datetime
    rated_at: datetime | None


class PriceView(_View):
    """What one unit of a SKU costs in [effective_from, effective_to)."""

    id: UUID
    sku: str
    unit: str
    amount: Exact
    currency: str
    description: str
    effective_from: datetime
    effective_to: datetime | None


class PriceList(BaseModel):
    """All prices asked for."""

    items: list[PriceView]


class ResourceCostView(_View):
    """What one resource cost."""

    project_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    amount: Exact


class SkuCostView(_View):
    """Quantity and cost of one SKU."""

    sku: str
    unit: str
    quantity: Exact
    amount: Exact


class ProjectCostView(_View):
    """What one project cost."""

    project_id: UUID
    amount: Exact


class DayCostView(_View):
    """What one day (UTC) cost."""

    day: date
    amount: Exact


class UnratedView(_View):
    """Usage without a charge yet; `has_price` false = a price is missing, and it is charged once there is one."""

    sku: str
    records: int
    quantity: Exact
    since: datetime
    has_price: bool


class CostSummaryView(_View):
    """Exact sums of the charges that start in [from_at, to_at)."""

    from_at: datetime
    to_at: datetime
    currency: str = CURRENCY
    total: Exact
    by_resource: list[ResourceCostView]
    by_sku: list[SkuCostView]
    by_project: list[ProjectCostView]
    by_day: list[DayCostView]
    unrated: list[UnratedView]


class InvoiceLineView(_View):
    """One line; `amount` is exact, `rounded` is it in cents, half-even."""

    project_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    variant: str
    sku: str
    unit: str
    unit_price: Exact
    quantity: Exact
    amount: Exact
    rounded: Exact


class InvoiceView(_View):
    """A month's bill. `total` sums the rounded lines; `closed` = it no longer changes."""

    month: str
    from_at: datetime
    to_at: datetime
    closed: bool
    currency: str = CURRENCY
    lines: list[InvoiceLineView]
    exact_total: Exact
    total: Exact
    unrated: list[UnratedView]


class BudgetCreate(BaseModel):
    """A monthly limit on charges, of one project or (without) of the organization."""

    model_config = ConfigDict(extra="forbid")

    project_id: UUID | None = None
    amount: Amount
    alert_percents: Percents = [50, 80, 100]
    hold_at_limit: Flag = False
    tags: Tags = Field(default_factory=dict)


class BudgetChange(BaseModel):
    """What to change; what is absent stays. `tags` replaces all tags."""

    model_config = ConfigDict(extra="forbid")

    amount: Amount | None = None
    alert_percents: Percents | None = None
    hold_at_limit: Flag | None = None
    tags: Tags | None = None


class BudgetView(BaseModel):
    """A budget with the month's charges so far; `alerts` are the alert percents reached."""

    id: UUID
    project_id: UUID | None
    amount: Exact
    alert_percents: list[int]
    hold_at_limit: bool
    spent: Exact
    alerts: list[int]
    reached: bool
    tags: dict[str, str]
    created_at: datetime

    @classmethod
    def of(cls, status: BudgetStatus) -> "BudgetView":
        """The view of a budget's status."""
        budget = status.budget
        return cls(
            id=budget.id,
            project_id=budget.project_id,
            amount=budget.amount,
            alert_percents=budget.alert_percents,
            hold_at_limit=budget.hold_at_limit,
            tags=budget.tags,
            spent=status.spent,
            alerts=status.alerts,
            reached=status.reached,
            created_at=budget.created_at,
        )


class BudgetList(BaseModel):
    """All budgets of the organization."""

    items: list[BudgetView]


class SpendingHoldView(_View):
    """New spending is stopped, for a project or (without) for the organization."""

    id: UUID
    project_id: UUID | None
    budget_id: UUID | None
    reason: str
    placed_at: datetime
    lifted_at: datetime | None


class SpendingHoldList(BaseModel):
    """All open holds on spending."""

    items: list[SpendingHoldView]
