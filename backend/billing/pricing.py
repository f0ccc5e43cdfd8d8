"""Prices: what a unit of a SKU costs from when."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.billing import pricing_repository as repository
from backend.billing import rating
from backend.billing.errors import PriceInThePast, PriceNotExact
from backend.billing.models import Price
from backend.core.auth import Principal
from backend.core.clock import database_now

SYSTEM = "system:seed"
ChargedAfter = Callable[[Session, str, datetime], bool]


def change_price(
    session: Session,
    operator: Principal,
    token: str,
    *,
    sku: str,
    amount: Decimal,
    from_at: datetime | None,
    description: str | None = None,
) -> Price:
    """An operator's act: a price from now or a later moment on. App role; it stands in the operator's own audit.

    `token` is that of the operator's session: Postgres itself refuses what is presented without one. Raises Forbidden,
    PriceInThePast, PriceNotExact.
    """
    operator.require("operator")
    repository.present_operator(session, token)
    repository.lock_prices(session, alone=True)
    now = database_now(session)
    if from_at is not None and from_at < now:
        raise PriceInThePast("a price begins now or later; what has been is charged at the price of then")
    old = repository.price_at(session, sku, from_at or now)
    made = set_price(
        session,
        sku,
        amount,
        from_at or now,
        description=description,
        by=operator.operating,
        charged_after=repository.charged_after_by_anyone,
    )
    if old is None or made.id != old.id:
        _record(session, operator, made, old)
    return made


def _record(session: Session, operator: Principal, made: Price, old: Price | None) -> None:
    audit.record(
        session,
        operator.operating,
        operator.scope,
        action="price.set",
        resource_kind="price",
        resource_id=made.sku,
        detail={
            "amount": rating.money(made.amount),
            "was": None if old is None else rating.money(old.amount),
            "from": made.effective_from.isoformat(),
        },
    )


def set_price(
    session: Session,
    sku: str,
    amount: Decimal,
    from_at: datetime,
    *,
    description: str | None = None,
    by: str = SYSTEM,
    charged_after: ChargedAfter = repository.charged_after,
) -> Price:
    """The price of one unit of `sku` from `from_at` on, in US dollars; closes the one before. Controller role.

    The unit follows from the SKU: `instance:<type>:<market>` is per second, anything else per call. Setting the
    same amount from the same moment again changes nothing. Raises PriceNotExact for an amount that is negative or
    finer than nine decimals, PriceInThePast where something was already charged beyond `from_at` or a price starts
    there.
    """
    _check_exact(amount, from_at)
    repository.lock_prices(session, alone=True)
    known = repository.prices_of(session, sku)
    same = next((price for price in known if price.effective_from == from_at), None)
    if same is not None and same.amount == amount:
        return same
    if same is not None or charged_after(session, sku, from_at):
        raise PriceInThePast(f"usage of {sku} after {from_at} is already charged, or has a price from then on")
    before = next((price for price in reversed(known) if price.effective_from < from_at), None)
    after = next((price for price in known if price.effective_from > from_at), None)
    if before is not None and (before.effective_to is None or before.effective_to > from_at):
        before.effective_to = from_at
    price = Price(
        sku=sku,
        unit=unit_of(sku),
        amount=amount,
        description=description or (before.description if before else sku),
        effective_from=from_at,
        effective_to=after.effective_from if after else None,
        set_by=by,
    )
    repository.add_price(session, price)
    return price


def _check_exact(amount: Decimal, from_at: datetime) -> None:
    if not amount.is_finite() or amount < 0 or rating.decimals(amount) > rating.PRICE_DECIMALS:
        raise PriceNotExact(f"a price is at least 0 with at most {rating.PRICE_DECIMALS} decimals, not {amount}")
    if from_at.tzinfo is None:
        raise PriceNotExact("a price starts at a time with a zone")


def unit_of(sku: str) -> str:
    """`second` for instances, `call` for inference."""
    return "second" if sku.startswith("instance:") else "call"


def price_in_force(session: Session, sku: str) -> Price | None:
    """What a unit of `sku` costs now (Postgres's clock); None where it has no price."""
    return repository.price_at(session, sku, database_now(session))


def price_from(session: Session, sku: str, moment: datetime | None) -> Price | None:
    """What a unit of `sku` costs at a moment, or now; None where it has no price then."""
    return repository.price_at(session, sku, moment or database_now(session))


def list_prices(session: Session, *, at: datetime | None) -> Sequence[Price]:
    """All prices ever, or those in force at a moment; by SKU, then by start."""
    return repository.prices(session, at=at)
