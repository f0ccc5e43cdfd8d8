"""Pure arithmetic of rating. No session, no clock, no float.

Quantities are whole *grains* of their unit: 0.001 second, 1 call. Splitting works on whole grains, and the
last part takes the remainder, so parts always sum to the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from uuid import UUID

EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
"""Wide enough for every product and sum of NUMERIC(38,12) values."""

MILLI = Decimal("0.001")
ONE = Decimal(1)
CENT = Decimal("0.01")
QUANTITY_DECIMALS = 3
PRICE_DECIMALS = 9
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class PricePeriod:
    """A price in force in [from_at, to_at); to_at None = until further notice."""

    price_id: UUID
    unit: str
    amount: Decimal
    from_at: datetime
    to_at: datetime | None


@dataclass(frozen=True)
class Share:
    """A variant's weight in a split, such as its compute time in whole microseconds."""

    variant: str
    weight: int


@dataclass(frozen=True)
class Part:
    """What becomes one charge."""

    price_id: UUID
    variant: str
    unit: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    from_at: datetime
    to_at: datetime


def decimals(value: Decimal) -> int:
    """How many decimals `value` needs, trailing zeros not counted."""
    exponent = value.normalize(EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else PRICE_DECIMALS + QUANTITY_DECIMALS + 1


def whole_milliseconds(seconds: float) -> Decimal:
    """Measured seconds as a billable quantity: to the nearest millisecond.

    Round the running total since the start, and bill differences of totals: then slices sum to the total.
    """
    return (Decimal(round(seconds * 1000)) * MILLI).quantize(MILLI)


def grain_of(unit: str) -> Decimal:
    """The smallest billable part of a unit."""
    return ONE if unit == "call" else MILLI


def split_quantity(quantity: Decimal, weights: Sequence[int], grain: Decimal) -> list[Decimal]:
    """Split in proportion to whole weights, in whole grains; the last positive weight takes the remainder.

    The parts sum to `quantity` exactly. Raises ValueError when no weight is positive or one is negative.
    """
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError("weights must be at least 0, and one of them more")
    last = max(index for index, weight in enumerate(weights) if weight > 0)
    with localcontext(EXACT):
        grains = int(quantity // grain)
        parts = [grain * (grains * weight // total) for weight in weights]
        parts[last] = quantity - sum((part for index, part in enumerate(parts) if index != last), Decimal(0))
    return parts


def split_at_prices(
    quantity: Decimal, from_at: datetime, to_at: datetime, prices: Sequence[PricePeriod]
) -> list[tuple[PricePeriod, Decimal, datetime, datetime]] | None:
    """Cut [from_at, to_at) where prices change; quantity goes along in proportion to time, exactly.

    `prices` are of one SKU and do not overlap. None = a moment of the period has no price.
    """
    pieces = _pieces(from_at, to_at, sorted(prices, key=lambda price: price.from_at))
    if pieces is None or len(pieces) == 1:
        return None if pieces is None else [(pieces[0][0], quantity, from_at, to_at)]
    weights = [(end - start) // MICROSECOND for _, start, end in pieces]
    quantities = split_quantity(quantity, weights, grain_of(pieces[0][0].unit))
    return [(price, part, start, end) for (price, start, end), part in zip(pieces, quantities, strict=True)]


def _pieces(
    from_at: datetime, to_at: datetime, prices: Sequence[PricePeriod]
) -> list[tuple[PricePeriod, datetime, datetime]] | None:
    pieces = []
    at = from_at
    for price in prices:
        inside = price.from_at <= at and (price.to_at is None or price.to_at > at)
        if not inside:
            continue
        end = to_at if price.to_at is None else min(to_at, price.to_at)
        pieces.append((price, at, end))
        at = end
        if at >= to_at:
            return pieces
    return None


def rate_usage(
    quantity: Decimal, from_at: datetime, to_at: datetime, prices: Sequence[PricePeriod], shares: Sequence[Share]
) -> list[Part] | None:
    """Every charge of one usage record. Quantities sum to the record's exactly; amounts are never rounded.

    `shares` empty or all of weight 0 = one line without variant. None = no price for all of the period.
    """
    pieces = split_at_prices(quantity, from_at, to_at, prices)
    if pieces is None:
        return None
    parts: list[Part] = []
    for price, piece, start, end in pieces:
        for variant, amount_of in _over_variants(piece, shares, grain_of(price.unit)):
            parts.append(
                Part(
                    price_id=price.price_id,
                    variant=variant,
                    unit=price.unit,
                    quantity=amount_of,
                    unit_price=price.amount,
                    amount=EXACT.multiply(amount_of, price.amount),
                    from_at=start,
                    to_at=end,
                )
            )
    return [part for part in parts if part.quantity] or parts[:1]


def _over_variants(quantity: Decimal, shares: Sequence[Share], grain: Decimal) -> list[tuple[str, Decimal]]:
    ordered = sorted((share for share in shares if share.weight > 0), key=lambda share: share.variant)
    if not ordered:
        return [("", quantity)]
    parts = split_quantity(quantity, [share.weight for share in ordered], grain)
    return [(share.variant, part) for share, part in zip(ordered, parts, strict=True)]


def exact_sum(values: Sequence[Decimal]) -> Decimal:
    """The sum of money, whatever its size."""
    with localcontext(EXACT):
        return sum(values, Decimal(0))


def round_to_cents(amount: Decimal) -> Decimal:
    """The one rounding there is: an invoice line, half-even, to cents."""
    return amount.quantize(CENT, rounding=ROUND_HALF_EVEN, context=EXACT)


def money(amount: Decimal) -> str:
    """An exact decimal string without exponent and without padding: `0.000012`, `3`."""
    text = format(amount, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
