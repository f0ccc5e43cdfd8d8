"""The console's price list, and a change that is looked at before it is made. Role *operator*."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from backend.admin import service as admin
from backend.admin.schemas import PriceSet
from backend.billing.models import Price
from backend.billing.pricing import list_prices
from backend.core.clock import database_now
from backend.core.fields import Moment


def _in_utc(value: object) -> object:
    """What a browser's field for a moment sends has no zone: the page says that it is UTC."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("Write a day and a time, such as 2030-01-01 00:00.") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


class PriceForm(PriceSet):
    """The API's request, but for the moment, which is typed in UTC; empty = now."""

    effective_from: Annotated[Moment, BeforeValidator(_in_utc)] | None = None


@dataclass(frozen=True, kw_only=True)
class PriceLine:
    """A version of a price. `state`: now, past or coming."""

    sku: str
    unit: str
    amount: Decimal
    description: str
    effective_from: datetime
    effective_to: datetime | None
    state: str


def read_prices(session: Session) -> list[PriceLine]:
    """Every version of every price, by SKU, the newest first."""
    now = database_now(session)
    found = sorted(list_prices(session, at=None), key=lambda one: one.effective_from, reverse=True)
    return [_price(one, now) for one in sorted(found, key=lambda one: one.sku)]


def _price(price: Price, now: datetime) -> PriceLine:
    over = price.effective_to is not None and price.effective_to <= now
    return PriceLine(
        sku=price.sku,
        unit=price.unit,
        amount=price.amount,
        description=price.description,
        effective_from=price.effective_from,
        effective_to=price.effective_to,
        state="past" if over else "coming" if price.effective_from > now else "now",
    )


@dataclass(frozen=True, kw_only=True)
class PriceRoom:
    """The page: every version, and what can have a price."""

    prices: Sequence[PriceLine]
    skus: Sequence[str]


def read_price_room(session: Session) -> PriceRoom:
    """All of the page."""
    return PriceRoom(prices=read_prices(session), skus=admin.known_skus(session))
