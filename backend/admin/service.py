"""Use cases of operators: look at a change of price before it is made, read and set an organization's limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import get_args
from uuid import UUID

from sqlalchemy.orm import Session

from backend.admin.errors import OrganizationNotFound, SkuUnknown
from backend.admin.schemas import Limits, LimitsChange, PriceSet
from backend.billing import pricing
from backend.billing.errors import PriceInThePast
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Scope, set_tenant
from backend.core.errors import DomainError
from backend.endpoints import console as endpoints
from backend.endpoints.states import IN_SERVICE
from backend.fleet import console as fleet_console
from backend.fleet import service as fleet
from backend.identity import console as identity_console
from backend.identity import service as identity
from backend.jobs.schemas import Market

CALL_SKU = "inference:call"
MARKETS: tuple[str, ...] = get_args(Market)


@dataclass(frozen=True, kw_only=True)
class PriceChange:
    """A price that would be set, what it replaces, and what runs at it now."""

    sku: str
    unit: str
    was: Decimal | None
    amount: Decimal
    effective_from: datetime | None
    instances: int
    endpoints: int
    organizations: int


def known_skus(session: Session) -> list[str]:
    """Everything that is counted: instances of every type and market, and calls. Any role."""
    types = fleet_console.instance_types(session)
    return [*(f"instance:{name}:{market}" for name in types for market in MARKETS), CALL_SKU]


def preview_price(session: Session, wanted: PriceSet) -> PriceChange:
    """What `wanted` would change. `session` reads as the role *operator*. Raises SkuUnknown, PriceInThePast."""
    check_sku(session, wanted.sku)
    if wanted.effective_from is not None and wanted.effective_from < database_now(session):
        raise PriceInThePast("a price begins now or later; what has been is charged at the price of then")
    old = pricing.price_from(session, wanted.sku, wanted.effective_from)
    instances, organizations = fleet_console.count_at_price(session, wanted.sku)
    serving = endpoints.count_by_status(session).get(IN_SERVICE, 0) if wanted.sku == CALL_SKU else 0
    return PriceChange(
        sku=wanted.sku,
        unit=pricing.unit_of(wanted.sku),
        was=None if old is None else old.amount,
        amount=wanted.amount,
        effective_from=wanted.effective_from,
        instances=instances,
        endpoints=serving,
        organizations=organizations,
    )


def check_sku(session: Session, sku: str) -> None:
    """Raises SkuUnknown for what nothing is counted under."""
    if sku not in known_skus(session):
        raise SkuUnknown(f"nothing is counted under '{sku}'", field="sku")


def find_organization(session: Session, words: str) -> UUID:
    """Of this account id or id. Reads across organizations. Raises OrganizationNotFound."""
    found = identity_console.find_named(session, words)
    if found is None:
        raise OrganizationNotFound(f"there is no organization '{words}'", hint="name its 12-digit account, or its id")
    return found


def read_limits(session: Session, organization_id: UUID) -> Limits:
    """Role *operator*, or within the organization. Raises OrganizationNotFound."""
    found = identity_console.find(session, organization_id)
    if found is None:
        raise OrganizationNotFound(f"there is no organization {organization_id}")
    quotas = fleet_console.quotas(session, [organization_id])
    return Limits(
        organization_id=organization_id,
        requests_per_minute=found.requests_per_minute,
        quotas={one.instance_type: one.max_instances for one in quotas},
    )


def change_limits(session: Session, who: str, organization_id: UUID, change: LimitsChange) -> Limits:
    """Set what `change` names, within the organization. Raises OrganizationNotFound, InstanceTypeUnknown."""
    read_limits(session, organization_id)
    scope = Scope(organization_id)
    if "requests_per_minute" in change.model_fields_set:
        identity.set_request_rate(session, who, scope, change.requests_per_minute)
    for instance_type, most in change.quotas.items():
        fleet.set_quota(session, who, scope, instance_type, most)
    session.flush()
    return read_limits(session, organization_id)


@contextmanager
def within(session: Session, operator: Principal, organization_id: UUID) -> Iterator[None]:
    """Act in an organization within the operator's transaction, which is the operator's own again afterwards."""
    set_tenant(session, organization_id)
    try:
        yield
        session.flush()
    except DomainError:
        set_tenant(session, operator.organization_id)
        raise
    set_tenant(session, operator.organization_id)
