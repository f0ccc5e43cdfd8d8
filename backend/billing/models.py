"""Tables of billing: prices, usage records, charges, budgets, holds on spending. Money is NUMERIC(38,12)."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Tagged, TenantOwned, Timestamped, tenant_key, tenant_reference


class Price(Identified, Timestamped, Base):
    """What one unit of a SKU costs in [effective_from, effective_to). Never two at a time."""

    __tablename__ = "prices"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("amount = round(amount, 9)", name="nine_decimals"),
        ExcludeConstraint(
            ("sku", "="),
            (text("tstzrange(effective_from, effective_to, '[)')"), "&&"),
            name="ex_prices_one_at_a_time",
            using="gist",
        ),
    )

    sku: Mapped[str]
    unit: Mapped[str]
    amount: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(server_default="USD")
    description: Mapped[str]
    effective_from: Mapped[datetime]
    effective_to: Mapped[datetime | None]
    set_by: Mapped[str] = mapped_column(server_default="system:seed")
    """Who set it: `operator:<user id>`, `host:<account of the machine>` or `system:seed`."""


class UsageRecord(Identified, TenantOwned, Timestamped, Base):
    """What one source consumed of one SKU in [from_at, to_at). Append-only; refuses overlap per source.

    source_kind: attempt, replica, hold (instance-seconds) or calls (a usage segment's variant). `source_id` is
    the attempt's, replica's or hold's id, or an id derived from the segment. `resource_*` is who is billed.
    """

    __tablename__ = "usage_records"
    __table_args__ = (
        tenant_key(),
        tenant_reference("project_id", "projects"),
        CheckConstraint("quantity >= 0", name="quantity_not_negative"),
        CheckConstraint("quantity = round(quantity, 3)", name="whole_thousandths"),
        CheckConstraint("to_at >= from_at", name="period_forward"),
        ExcludeConstraint(
            ("source_id", "="),
            ("sku", "="),
            (text("tstzrange(from_at, to_at, '[)')"), "&&"),
            name="ex_usage_records_no_overlap",
            using="gist",
        ),
        UniqueConstraint("source_id", "sku", "from_at"),
        Index("ix_usage_records_unrated", "id", postgresql_where=text("rated_at IS NULL")),
        Index("ix_usage_records_resource", "organization_id", "resource_kind", "resource_id", "from_at"),
    )

    project_id: Mapped[UUID]
    source_kind: Mapped[str]
    source_id: Mapped[UUID]
    resource_kind: Mapped[str]
    resource_id: Mapped[UUID]
    resource_name: Mapped[str]
    sku: Mapped[str]
    quantity: Mapped[Decimal]
    from_at: Mapped[datetime]
    to_at: Mapped[datetime]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    rated_at: Mapped[datetime | None]


class Charge(Identified, TenantOwned, Timestamped, Base):
    """A usage record, or the part of it under one price: quantity times unit price, never rounded."""

    __tablename__ = "charges"
    __table_args__ = (
        tenant_reference("project_id", "projects"),
        tenant_reference("usage_record_id", "usage_records"),
        UniqueConstraint("usage_record_id", "price_id", "from_at", "variant"),
        CheckConstraint("amount = quantity * unit_price", name="amount_exact"),
        Index(
            "ix_charges_month",
            "organization_id",
            "from_at",
            postgresql_include=["project_id", "resource_kind", "resource_id", "amount"],
        ),
        Index("ix_charges_resource", "organization_id", "resource_kind", "resource_id"),
        Index("ix_charges_sku_until", "sku", "to_at"),
    )

    project_id: Mapped[UUID]
    usage_record_id: Mapped[UUID]
    price_id: Mapped[UUID] = mapped_column(ForeignKey("prices.id"))
    resource_kind: Mapped[str]
    resource_id: Mapped[UUID]
    resource_name: Mapped[str]
    variant: Mapped[str] = mapped_column(server_default="")
    sku: Mapped[str]
    quantity: Mapped[Decimal]
    unit: Mapped[str]
    unit_price: Mapped[Decimal]
    amount: Mapped[Decimal]
    from_at: Mapped[datetime]
    to_at: Mapped[datetime]


class ChargeDay(Identified, TenantOwned, Base):
    """Part of what a day (UTC, of the charges' starts) cost of one SKU: the day's sum is that of all its rows.

    A trigger on `charges` keeps them, nothing else; see migration 0017.
    """

    __tablename__ = "charge_days"
    __table_args__ = (
        Index("ix_charge_days_key", "organization_id", "day", "project_id", "resource_kind", "sku", "unit"),
        Index("ix_charge_days_day", "day"),
    )

    day: Mapped[date]
    project_id: Mapped[UUID]
    resource_kind: Mapped[str]
    sku: Mapped[str]
    unit: Mapped[str]
    quantity: Mapped[Decimal]
    amount: Mapped[Decimal]
    charges: Mapped[int]
    """How many were summed up."""


class Budget(Identified, TenantOwned, Tagged, Timestamped, Base):
    """A monthly limit on charges; `hold_at_limit` stops new spending when it is reached."""

    __tablename__ = "budgets"
    __table_args__ = (
        tenant_reference("project_id", "projects"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
    )

    project_id: Mapped[UUID | None]
    amount: Mapped[Decimal]
    alert_percents: Mapped[list[Any]] = mapped_column(default=list)
    hold_at_limit: Mapped[bool]


class SpendingHold(Identified, TenantOwned, Base):
    """New spending is stopped (for one project, or all). The jobs and endpoints controllers obey it.

    `budget_id` and `limit_amount`: the budget that placed it, and its amount then. Lifted by a person, it is not
    placed again in that month until the budget's amount changes.
    """

    __tablename__ = "spending_holds"
    __table_args__ = (
        tenant_reference("project_id", "projects"),
        Index("ix_spending_holds_open", "organization_id", postgresql_where=text("lifted_at IS NULL")),
    )

    project_id: Mapped[UUID | None]
    budget_id: Mapped[UUID | None]
    limit_amount: Mapped[Decimal | None]
    reason: Mapped[str]
    placed_by: Mapped[str | None]
    """The operator who placed it, as `operator:<user id>`: only operators lift it. None = a budget did."""
    placed_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    lifted_at: Mapped[datetime | None]
