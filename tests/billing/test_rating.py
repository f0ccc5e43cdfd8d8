"""★8: splitting conserves quantity and money exactly; a replay is identical; interleaving changes no sum."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.billing import rating
from backend.billing.rating import PricePeriod, Share

pytestmark = pytest.mark.unit
START = datetime(2026, 3, 1, tzinfo=UTC)
MILLION = 1_000_000

quantities = st.integers(0, 10**12).map(lambda thousandths: Decimal(thousandths) * rating.MILLI)
amounts = st.integers(0, 10**12).map(lambda nanos: Decimal(nanos).scaleb(-9))
cuts = st.lists(st.integers(1, 60 * MILLION - 1), unique=True, max_size=4).map(sorted)
shares = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**9), max_size=5).map(
    lambda weights: [Share(variant, weight) for variant, weight in weights.items()]
)


def at(microseconds: int) -> datetime:
    return START + timedelta(microseconds=microseconds)


def price_list(cut_points: Sequence[int], values: Sequence[Decimal], unit: str = "second") -> list[PricePeriod]:
    starts = [at(-1), *(at(cut) for cut in cut_points)]
    ends: list[datetime | None] = [*starts[1:], None]
    return [
        PricePeriod(UUID(int=number), unit, values[number % len(values)], start, end)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


@given(quantities, cuts, st.lists(amounts, min_size=1, max_size=5), shares)
def test_parts_sum_to_the_record_exactly(
    quantity: Decimal, cut_points: list[int], values: list[Decimal], weights: list[Share]
) -> None:
    prices = price_list(cut_points, values)
    parts = rating.rate_usage(quantity, at(0), at(60 * MILLION), prices, weights)
    assert parts is not None
    assert rating.exact_sum([part.quantity for part in parts]) == quantity
    for part in parts:
        assert part.quantity >= 0
        assert part.amount == part.quantity * part.unit_price
        assert rating.decimals(part.amount) <= 12
    keys = [(part.price_id, part.from_at, part.variant) for part in parts]
    assert len(set(keys)) == len(keys)


@given(quantities, amounts, shares)
def test_a_split_over_variants_costs_exactly_what_the_whole_costs(
    quantity: Decimal, amount: Decimal, weights: list[Share]
) -> None:
    parts = rating.rate_usage(quantity, at(0), at(60 * MILLION), price_list([], [amount]), weights)
    assert parts is not None
    with localcontext(rating.EXACT):
        assert rating.exact_sum([part.amount for part in parts]) == quantity * amount


@given(quantities, cuts, st.lists(amounts, min_size=1, max_size=5), st.permutations(range(5)), shares)
def test_replay_and_order_of_prices_and_shares_give_the_identical_bill(
    quantity: Decimal, cut_points: list[int], values: list[Decimal], order: list[int], weights: list[Share]
) -> None:
    prices = price_list(cut_points, values)
    shuffled = [prices[index] for index in order if index < len(prices)]
    first = rating.rate_usage(quantity, at(0), at(60 * MILLION), prices, weights)
    again = rating.rate_usage(quantity, at(0), at(60 * MILLION), shuffled, weights[::-1])
    assert first == again


@given(st.lists(st.integers(1, 59_999), unique=True, max_size=6).map(sorted), amounts, st.randoms())
def test_any_slicing_in_any_order_costs_the_same(boundaries: list[int], amount: Decimal, random: Random) -> None:
    edges = [0, *boundaries, 60_000]
    slices = list(pairwise(edges))
    random.shuffle(slices)
    total = Decimal(0)
    for begin, end in slices:
        parts = rating.rate_usage(
            Decimal(end - begin) * rating.MILLI, at(begin * 1000), at(end * 1000), price_list([], [amount]), []
        )
        assert parts is not None
        total = rating.exact_sum([total, *(part.amount for part in parts)])
    assert total == Decimal(60) * amount


def test_a_record_is_split_at_a_price_change_in_proportion_to_time() -> None:
    prices = price_list([15 * MILLION], [Decimal("0.1"), Decimal("0.3")])
    parts = rating.rate_usage(Decimal(60), at(0), at(60 * MILLION), prices, [])
    assert parts is not None
    assert [(part.quantity, part.amount) for part in parts] == [
        (Decimal(15), Decimal("1.5")),
        (Decimal(45), Decimal("13.5")),
    ]
    assert (parts[0].to_at, parts[1].from_at) == (at(15 * MILLION), at(15 * MILLION))


def test_calls_are_never_cut_into_fractions() -> None:
    parts = rating.rate_usage(
        Decimal(10), at(0), at(60 * MILLION), price_list([20 * MILLION], [Decimal(1), Decimal(2)], "call"), []
    )
    assert parts is not None
    assert [part.quantity for part in parts] == [Decimal(3), Decimal(7)]


def test_the_last_variant_takes_the_remainder() -> None:
    parts = rating.split_quantity(Decimal("0.010"), [1, 1, 1], rating.MILLI)
    assert parts == [Decimal("0.003"), Decimal("0.003"), Decimal("0.004")]


def test_a_gap_in_the_prices_is_no_bill() -> None:
    late = PricePeriod(UUID(int=1), "second", Decimal(1), at(1), None)
    ended = PricePeriod(UUID(int=2), "second", Decimal(1), at(-9), at(59 * MILLION))
    for prices in ([], [late], [ended]):
        assert rating.rate_usage(Decimal(60), at(0), at(60 * MILLION), prices, []) is None


def test_a_zero_price_and_a_zero_quantity_are_still_a_line() -> None:
    free = rating.rate_usage(Decimal(60), at(0), at(60 * MILLION), price_list([], [Decimal(0)]), [])
    assert free is not None
    assert [(part.quantity, part.amount) for part in free] == [(Decimal(60), Decimal(0))]
    nothing = rating.rate_usage(Decimal(0), at(0), at(0), price_list([], [Decimal(1)]), [Share("a", 1)])
    assert nothing is not None
    assert [part.quantity for part in nothing] == [Decimal(0)]


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_weights_that_cannot_split_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        rating.split_quantity(Decimal(1), weights, rating.MILLI)


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("0.005", "0.00"), ("0.015", "0.02"), ("0.0150001", "0.02"), ("12345678.125", "12345678.12")],
)
def test_an_invoice_line_is_rounded_half_even(amount: str, rounded: str) -> None:
    assert rating.round_to_cents(Decimal(amount)) == Decimal(rounded)


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", "1000"), ("0.000012000000", "0.000012"), ("3.000", "3"), ("0E-12", "0"), ("1E-9", "0.000000001")],
)
def test_money_is_an_exact_string(value: str, text: str) -> None:
    assert rating.money(Decimal(value)) == text


def test_measured_seconds_become_whole_milliseconds() -> None:
    assert rating.whole_milliseconds(0.1 + 0.2) == Decimal("0.300")
    assert rating.decimals(rating.whole_milliseconds(1234567.89012345)) <= 3
