"""What others call. Recording usage stands here; the other use cases stand in modules of their own.

`charging` rates, `pricing` sets prices, `costs` lists, sums and invoices, `budgets` limits and holds.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing import rating
from backend.billing.budgets import check_budgets, open_hold
from backend.billing.charging import Rated, Splitter, rate, register_splitter
from backend.billing.costs import get_invoice, list_charges, list_usage, summarize_costs
from backend.billing.errors import UsageNotExact, UsageOverlap
from backend.billing.models import UsageRecord
from backend.billing.pricing import list_prices, price_in_force, set_price
from backend.billing.pricing_repository import organizations_with_budgets, unpriced_skus
from backend.billing.rating import Share, whole_milliseconds
from backend.billing.repository import Filters, UsageRepository
from backend.core.db import Scope

__all__ = [
    "Filters",
    "Rated",
    "Share",
    "Splitter",
    "UsageRecord",
    "check_budgets",
    "get_invoice",
    "list_charges",
    "list_prices",
    "list_usage",
    "open_hold",
    "organizations_with_budgets",
    "price_in_force",
    "rate",
    "record_usage",
    "register_splitter",
    "set_price",
    "summarize_costs",
    "unpriced_skus",
    "whole_milliseconds",
]


def record_usage(
    session: Session,
    scope: Scope,
    *,
    project_id: UUID,
    source_kind: str,
    source_id: UUID,
    resource_kind: str,
    resource_id: UUID,
    resource_name: str,
    sku: str,
    quantity: Decimal,
    from_at: datetime,
    to_at: datetime,
    detail: dict[str, Any],
) -> bool:
    """Append what a source consumed of a SKU in [from_at, to_at). False = this slice is already recorded.

    `quantity` is in the SKU's unit, in whole thousandths (`whole_milliseconds` makes one of measured
    seconds). A replay (same source, SKU, period and quantity) changes nothing. Raises UsageNotExact for a quantity
    that is negative or finer than a thousandth or a period that runs backwards, UsageOverlap when the source has
    other usage of this SKU in the period.
    """
    _check_exact(quantity, from_at, to_at)
    usage = UsageRepository(session, scope)
    recorded = usage.insert_once(
        {
            "project_id": project_id,
            "source_kind": source_kind,
            "source_id": source_id,
            "resource_kind": resource_kind,
            "resource_id": resource_id,
            "resource_name": resource_name,
            "sku": sku,
            "quantity": quantity,
            "from_at": from_at,
            "to_at": to_at,
            "detail": detail,
        }
    )
    if recorded:
        return True
    known = usage.same_start(source_id, sku, from_at)
    if known is None or not _same_slice(known, quantity, to_at, resource_id):
        raise UsageOverlap(
            f"{source_kind} {source_id} already has other usage of {sku} within {from_at} to {to_at}; "
            "slices of one source follow each other, and a replay is the same"
        )
    return False


def _check_exact(quantity: Decimal, from_at: datetime, to_at: datetime) -> None:
    if not quantity.is_finite() or quantity < 0 or rating.decimals(quantity) > rating.QUANTITY_DECIMALS:
        raise UsageNotExact(
            f"a usage quantity is at least 0 and in whole thousandths (`whole_milliseconds`), not {quantity}"
        )
    if from_at.tzinfo is None or to_at.tzinfo is None or to_at < from_at:
        raise UsageNotExact(f"a usage period runs forward, in times with a zone, not {from_at} to {to_at}")


def _same_slice(known: UsageRecord, quantity: Decimal, to_at: datetime, resource_id: UUID) -> bool:
    return known.quantity == quantity and known.to_at == to_at and known.resource_id == resource_id
