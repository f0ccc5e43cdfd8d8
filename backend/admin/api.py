"""REST routes of operators: with the session of their log-in, never with an API key."""

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.orm import Session

from backend.admin import service
from backend.admin.errors import OrganizationNotFound, SkuUnknown
from backend.admin.schemas import Limits, LimitsChange, OrganizationView, PriceChangeView, PriceSet
from backend.billing import pricing
from backend.billing.errors import PriceInThePast
from backend.billing.schemas import PriceView
from backend.core.db import Database
from backend.core.errors import Unavailable
from backend.core.http import Operator, Transaction
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.fleet.errors import InstanceTypeUnknown
from backend.identity import console
from backend.identity.authentication import SESSION_COOKIE

router = APIRouter(prefix="/api/v1/admin", tags=["admin"])


def across(request: Request, _operator: Operator) -> Iterator[Session]:
    """One transaction over all organizations, which only reads. Raises Unavailable."""
    database: Database | None = request.app.state.operator_database
    if database is None:
        raise Unavailable("the API does not read across organizations: set MODELYARD_DATABASE__OPERATOR_URL for it")
    with database.unit_of_work() as session:
        yield session


Across = Annotated[Session, Depends(across, scope="function")]
Words = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$", description="part of a name, or of an account")]


@router.get("/organizations")
def list_organizations(
    _operator: Operator, everybody: Across, page: PageParameters, text: Words = ""
) -> Page[OrganizationView]:
    """All organizations, newest first."""
    rows, cursor = console.page(everybody, text, page)
    return Page(items=[OrganizationView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/organizations/{organization_id}/limits", responses=raises(OrganizationNotFound))
def read_limits(organization_id: UUID, _operator: Operator, everybody: Across) -> Limits:
    """What bounds an organization: its request rate and its quotas."""
    return service.read_limits(everybody, organization_id)


@router.patch("/organizations/{organization_id}/limits", responses=raises(OrganizationNotFound, InstanceTypeUnknown))
def change_limits(organization_id: UUID, body: LimitsChange, operator: Operator, session: Transaction) -> Limits:
    """Set an organization's request rate or quotas; it stands in its audit. A rate counts within a minute."""
    with service.within(session, operator, organization_id):
        return service.change_limits(session, operator.operating, organization_id, body)


@router.post("/prices/preview", responses=raises(SkuUnknown, PriceInThePast))
def preview_price(body: PriceSet, _operator: Operator, everybody: Across) -> PriceChangeView:
    """What a change of price would replace, and how much runs at that price now. Changes nothing."""
    return PriceChangeView.model_validate(service.preview_price(everybody, body))


@router.post("/prices", status_code=201, responses=raises(SkuUnknown, PriceInThePast))
def set_price(request: Request, body: PriceSet, operator: Operator, session: Transaction) -> PriceView:
    """A price from now or a later moment on. What is charged stays; usage that spans the moment is split there."""
    service.check_sku(session, body.sku)
    made = pricing.change_price(
        session,
        operator,
        request.cookies[SESSION_COOKIE],
        sku=body.sku,
        amount=body.amount,
        from_at=body.effective_from,
        description=body.description,
    )
    return PriceView.model_validate(made)
