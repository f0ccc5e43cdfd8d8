"""Identifiers grow with time."""

from datetime import UTC, datetime, timedelta

import pytest

from backend.core.ids import floor_id, new_account_id, new_id

pytestmark = pytest.mark.unit


def test_ids_sort_as_they_were_made() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {id_.version for id_ in made} == {7}
    assert {id_.bytes[8] >> 6 for id_ in made} == {0b10}


def test_a_moments_floor_is_below_what_is_made_then_and_above_what_was_made_before() -> None:
    now = datetime.now(UTC)
    assert floor_id(now) < new_id() < floor_id(now + timedelta(minutes=1))
    assert floor_id(now + timedelta(milliseconds=1)) > floor_id(now)


def test_account_ids_have_twelve_digits() -> None:
    for _ in range(1_000):
        account = new_account_id()
        assert len(account) == 12
        assert account.isdigit()
        assert account[0] != "0"
