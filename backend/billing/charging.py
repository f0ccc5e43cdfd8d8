"""Rating: from unrated usage records to charges."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from backend.billing import pricing_repository as pricing
from backend.billing import rating
from backend.billing.models import UsageRecord
from backend.billing.rating import Part, PricePeriod, Share
from backend.billing.repository import ChargeRepository, UsageRepository
from backend.core.db import Scope, act_as

log = structlog.get_logger(__name__)


class Splitter(Protocol):
    """Says how a source's usage is shared by variants. Registered by the domain that knows."""

    def shares(self, session: Session, scope: Scope, record: UsageRecord) -> Sequence[Share]:
        """Weights by variant within the record's period; empty = one line without variant."""

    def settled(self) -> ColumnElement[bool]:
        """SQL on a usage record: what its split rests on is complete already."""


@dataclass(frozen=True)
class Rated:
    """What one batch did."""

    records: int
    organizations: frozenset[UUID]


SPLITTERS: dict[str, Splitter] = {}


def register_splitter(source_kind: str, splitter: Splitter) -> None:
    """Usage of this source kind is split by `splitter` (see `rate`)."""
    SPLITTERS[source_kind] = splitter


def rate(session: Session, limit: int, *, settle_seconds: float = 20.0) -> Rated:
    """Turn up to `limit` unrated usage records, of all tenants, into charges; one transaction.

    Needs the controller role, and leaves the session as the app role of the last tenant: end it after this call.
    A record without a price for all of its period stays unrated. What a splitter shares waits until it says that it
    is settled, at most `settle_seconds`; usage segments that are later still never move the sum, only the split.
    """
    pricing.lock_prices(session, alone=False)
    settled = {kind: splitter.settled() for kind, splitter in SPLITTERS.items()}
    records = pricing.claim_unrated(session, limit=limit, settled=settled, settle_seconds=settle_seconds)
    if not records:
        return Rated(0, frozenset())
    prices = pricing.price_periods(
        session,
        {record.sku for record in records},
        min(record.from_at for record in records),
        max(record.to_at for record in records),
    )
    by_tenant = groupby(sorted(records, key=_tenant), key=_tenant)
    organizations = frozenset(
        _rate_tenant(session, organization_id, list(group), prices) for organization_id, group in by_tenant
    )
    return Rated(len(records), organizations)


def _tenant(record: UsageRecord) -> UUID:
    return record.organization_id


def _rate_tenant(
    session: Session, organization_id: UUID, records: list[UsageRecord], prices: dict[str, list[PricePeriod]]
) -> UUID:
    act_as(session, organization_id)
    scope = Scope(organization_id)
    charges: list[dict[str, Any]] = []
    rated: list[UUID] = []
    for record in records:
        parts = rating.rate_usage(
            record.quantity,
            record.from_at,
            record.to_at,
            prices.get(record.sku, []),
            _shares(session, scope, record),
        )
        if parts is None:  # the claim saw prices for all of it; a gap now would be a bug in one of the two
            log.error("usage_without_price", usage_record=str(record.id), sku=record.sku)
            continue
        rated.append(record.id)
        charges += [_charge(record, part) for part in parts]
    ChargeRepository(session, scope).add_all(charges)
    UsageRepository(session, scope).mark_rated(rated)
    return organization_id


def _shares(session: Session, scope: Scope, record: UsageRecord) -> Sequence[Share]:
    splitter = SPLITTERS.get(record.source_kind)
    if splitter is not None:
        return splitter.shares(session, scope, record)
    variant = record.detail.get("variant")
    return [Share(variant, 1)] if isinstance(variant, str) else []


def _charge(record: UsageRecord, part: Part) -> dict[str, Any]:
    return {
        "project_id": record.project_id,
        "usage_record_id": record.id,
        "price_id": part.price_id,
        "resource_kind": record.resource_kind,
        "resource_id": record.resource_id,
        "resource_name": record.resource_name,
        "variant": part.variant,
        "sku": record.sku,
        "quantity": part.quantity,
        "unit": part.unit,
        "unit_price": part.unit_price,
        "amount": part.amount,
        "from_at": part.from_at,
        "to_at": part.to_at,
    }
