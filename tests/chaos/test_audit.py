"""The audit of the chaos benchmark finds what it is there to find: true books pass, doctored ones do not."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks.audit import Audit, Told, audit
from benchmarks.books import Books, Charge, Duty, Machine, Price, Segment, Traffic, Usage, read_machines

pytestmark = pytest.mark.unit
T = TypeVar("T")
START = datetime(2026, 3, 1, tzinfo=UTC)
DOLLAR, DIME = Decimal("0.25"), Decimal("0.1")


def at(milliseconds: int) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def unix(milliseconds: int) -> int:
    return int(START.timestamp()) * 1000 + milliseconds


def seconds(record: str, kind: str, source: str, from_ms: int, to_ms: int) -> Usage:
    length = Decimal(to_ms - from_ms) / 1000
    return Usage(record, kind, source, "instance", length, at(from_ms), at(to_ms), at(60_000), f"of {source}", "m")


def charge(one: Usage, price: str, unit_price: Decimal, quantity: Decimal, **other: Any) -> Charge:
    made = Charge(
        one.record, price, "", one.sku, quantity, "second", unit_price, quantity * unit_price,
        one.from_at, one.to_at, one.resource,
    )  # fmt: skip
    return replace(made, **other)


def true_books() -> Books:
    """One machine from 1 to 20 s: an attempt in two slices over a price change, a lost one, a replica, a hold."""
    usage = [
        seconds("u1", "attempt", "a", 3000, 5000),
        seconds("u2", "attempt", "a", 5000, 6000),
        seconds("u3", "attempt", "b", 6500, 7000),
        seconds("u4", "replica", "r", 8000, 12_000),
        seconds("u5", "hold", "h", 12_500, 15_000),
    ]
    calls = Usage(
        "u6", "calls", "c", "call", Decimal(7), at(9000), at(9500), at(60_000), "of r", None, "s", "blue", "k"
    )
    charges = [
        charge(usage[0], "p1", DOLLAR, Decimal("1.5"), to_at=at(4500)),
        charge(usage[0], "p2", DIME, Decimal("0.5"), from_at=at(4500)),
        charge(usage[1], "p2", DIME, Decimal(1)),
        charge(usage[2], "p2", DIME, Decimal("0.5")),
        charge(usage[3], "p2", DIME, Decimal(3), variant="blue"),
        charge(usage[3], "p2", DIME, Decimal(1), variant="green"),
        charge(usage[4], "p2", DIME, Decimal("2.5")),
        charge(calls, "p3", DIME, Decimal(7), variant="blue", unit="call"),
    ]
    return Books(
        machines=[Machine("m", unix(1000), unix(20_000))],
        duties=[
            Duty("attempt", "a", "m", at(3000), at(6100), 3.0004, 2.5),
            Duty("attempt", "b", "m", at(6500), at(7800), None, 0.5, at_fault=True),
            Duty("replica", "r", "m", at(8000), at(12_200), 4.0, 4.0),
            Duty("hold", "h", "m", at(12_500), at(15_000)),
        ],
        usage=[*usage, calls],
        charges=charges,
        prices=[
            Price("p1", "instance", DOLLAR, at(-9000), at(4500)),
            Price("p2", "instance", DIME, at(4500), None),
            Price("p3", "call", DIME, at(-9000), None),
        ],
        traffic=[
            Traffic("s", "r", "of r", "blue", "k", 7, 300, at(9000)),
            Traffic("s", "r", "of r", "green", "k", 0, 100, at(9000)),
        ],
        segments=[Segment("s", 7, at(13_000))],
    )


def invoice() -> dict[str, Any]:
    """Of the true books, as the API answers."""
    lines = [
        {"resource_id": f"of {name}", "variant": variant, "sku": "instance", "unit": "second",
         "unit_price": price, "quantity": quantity, "amount": amount, "rounded": rounded}
        for name, variant, price, quantity, amount, rounded in (
            ("a", "", "0.25", "1.5", "0.375", "0.38"),
            ("a", "", "0.1", "1.5", "0.15", "0.15"),
            ("b", "", "0.1", "0.5", "0.05", "0.05"),
            ("r", "blue", "0.1", "3", "0.3", "0.3"),
            ("r", "green", "0.1", "1", "0.1", "0.1"),
            ("h", "", "0.1", "2.5", "0.25", "0.25"),
        )
    ]  # fmt: skip
    calls = {"resource_id": "of r", "variant": "blue", "sku": "call", "unit": "call", "unit_price": "0.1"}
    lines.append({**calls, "quantity": "7", "amount": "0.7", "rounded": "0.7"})
    return {"lines": lines, "total": "1.93", "exact_total": "1.925"}


def audited(books: Books) -> Audit:
    return audit(books, told={"of r": Told(6, 1)}, invoice=invoice())


def test_true_books_have_no_fault_and_name_every_overhead() -> None:
    found = audited(true_books())
    assert found.faults == []
    assert (found.machines, found.provider_ms, found.billed_ms) == (1, 19_000, 10_000)
    overheads = {"boot": 2000, "handover": 500 + 500, "platform_fault": 1000, "teardown": 5000}
    assert found.overhead_ms == overheads
    assert found.provider_ms == found.billed_ms + sum(overheads.values())
    assert (found.calls, found.charges) == (7, 8)


def test_a_machine_that_got_nothing_to_do_is_boot() -> None:
    found = audit(Books(machines=[Machine("m", 1000, 10_000)]))
    assert (found.faults, found.overhead_ms["boot"]) == ([], 9000)


def test_a_machine_lost_after_its_work_is_the_platforms_fault() -> None:
    books = true_books()
    books.usage, books.duties = books.usage[2:3], books.duties[1:2]
    books.charges, books.traffic, books.segments = books.charges[3:4], [], []
    found = audit(books)
    assert (found.faults, found.overhead_ms["platform_fault"]) == ([], 13_000)


Doctor = Callable[[Books], None]


def change(rows: list[T], index: int, **values: Any) -> None:
    rows[index] = replace(rows[index], **values)  # type: ignore[type-var]  # every row is a dataclass


def drop(rows: list[Any], index: int) -> None:
    del rows[index]


def another_share(books: Books, first: int, second: int, quantity: str, price: Decimal) -> None:
    """Two charges of one record get the same quantity, each at its price."""
    for index, amount in ((first, price), (second, DIME)):
        change(books.charges, index, quantity=Decimal(quantity), amount=Decimal(quantity) * amount)


DOCTORED: dict[str, tuple[Doctor, str]] = {
    "billed twice": (lambda b: change(b.usage, 2, from_at=at(5900), quantity=Decimal("1.1")), "billed twice"),
    "a hole": (lambda b: change(b.usage, 1, from_at=at(5001), quantity=Decimal("0.999")), "has a hole"),
    "before it ran": (lambda b: change(b.machines, 0, began_ms=unix(3100)), "before it ran"),
    "after it ended": (lambda b: change(b.machines, 0, ended_ms=unix(14_750)), "after it ended"),
    "still running": (lambda b: change(b.machines, 0, ended_ms=None), "still runs"),
    "a machine that never ran": (lambda b: b.machines.clear(), "never ran"),
    "more than its period": (lambda b: change(b.usage, 1, quantity=Decimal("1.5")), "s used in"),
    "less than it owes": (lambda b: change(b.duties, 0, told_seconds=3.05), "owes 3050 ms"),
    "a lost one's more than was heard": (lambda b: change(b.duties, 1, heard_seconds=0.25), "owes 250 ms"),
    "a replica that is never billed": (lambda b: drop(b.usage, 3), "owes 4000 ms"),
    "a hold's first half second": (
        lambda b: change(b.usage, 4, from_at=at(13_000), quantity=Decimal(2)),
        "hold h is billed 2000 ms and owes 2500 ms",
    ),
    "a hold that goes on": (lambda b: change(b.duties, 3, ended_at=None), "has not ended"),
    "not from its start": (lambda b: change(b.duties, 0, started_at=at(2999)), "not billed from its start"),
    "somebody else's machine": (lambda b: change(b.duties, 2, tag="other"), "was a replica on other"),
    "nobody's": (lambda b: drop(b.duties, 3), "never assigned"),
    "another kind": (lambda b: change(b.usage, 4, kind="replica"), "is billed on m, and was a hold"),
    "calls that were lost": (lambda b: change(b.traffic, 0, calls=6), "6 calls, 7 in 1 records"),
    "calls that no segment has": (lambda b: change(b.segments, 0, calls=6), "tells 6 calls, 7 are counted"),
    "calls billed to nothing": (lambda b: change(b.usage, 5, segment="other"), "that no segment tells"),
    "calls billed twice": (lambda b: b.usage.append(replace(b.usage[5], record="u7")), "14 in 2 records"),
    "calls of another variant": (lambda b: change(b.charges, 7, variant="green"), "to another variant"),
    "not rated": (lambda b: change(b.usage, 1, rated_at=None), "is not charged"),
    "not charged": (lambda b: drop(b.charges, 2), "is not charged"),
    "undercharged": (
        lambda b: change(b.charges, 2, quantity=Decimal("0.999"), amount=Decimal("0.0999")),
        "0.999 charged",
    ),
    "charged twice": (lambda b: b.charges.append(b.charges[2]), "2 charged"),
    "a millionth too much": (lambda b: change(b.charges, 2, amount=Decimal("0.100001")), "is charged as 0.100001"),
    "an invented price": (
        lambda b: change(b.charges, 2, unit_price=Decimal("0.2"), amount=Decimal("0.2")),
        "no price of it",
    ),
    "a price that was over": (
        lambda b: change(b.charges, 2, price="p1", unit_price=DOLLAR, amount=DOLLAR),
        "not in force then",
    ),
    "another good's price": (lambda b: change(b.charges, 2, price="p3"), "no price of it"),
    "a price change at another time": (lambda b: another_share(b, 0, 1, "1", DOLLAR), "in a part of its time"),
    "an hour without a charge": (lambda b: change(b.charges, 1, from_at=at(4600)), "do not cover its period"),
    "a neighbour's charge": (lambda b: change(b.charges, 2, resource="of b"), "is charged to of b"),
    "a split that is not the traffic's": (lambda b: another_share(b, 4, 5, "2", DIME), "its share is"),
    "a charge of nothing": (lambda b: change(b.charges, 2, record="gone"), "which does not exist"),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_a_doctored_row_is_found(name: str) -> None:
    books = true_books()
    doctor, said = DOCTORED[name]
    doctor(books)
    assert any(said in fault for fault in audited(books).faults), audited(books).faults


@pytest.mark.parametrize(
    ("doctor", "off_ms"),
    [
        (lambda b: change(b.usage, 1, from_at=at(5001), quantity=Decimal("0.999")), 1 + 1),
        (lambda b: change(b.machines, 0, ended_ms=unix(14_750)), 250),
        (lambda b: change(b.duties, 0, told_seconds=3.05), 50),
    ],
)
def test_how_much_is_off_is_told_in_milliseconds(doctor: Doctor, off_ms: int) -> None:
    books = true_books()
    doctor(books)
    assert audited(books).off_ms == off_ms


@pytest.mark.parametrize(("told", "fine"), [(Told(7), True), (Told(8), False), (Told(5, 1), False), (Told(5, 2), True)])
def test_what_clients_counted_is_what_is_billed(told: Told, fine: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert (audit(true_books(), told={"of r": told}).faults == []) is fine


@pytest.mark.parametrize(
    "doctored",
    [
        {"total": "1.92"},
        {"exact_total": "1.93"},
        {"lines": invoice()["lines"][1:]},
        {"lines": [*invoice()["lines"], invoice()["lines"][0]]},
        {"lines": [{**invoice()["lines"][0], "rounded": "0.37"}, *invoice()["lines"][1:]]},
        {"lines": [{**invoice()["lines"][0], "unit_price": "0.2"}, *invoice()["lines"][1:]]},
    ],
)
def test_an_invoice_that_is_not_its_charges_is_found(doctored: dict[str, Any]) -> None:
    assert audit(true_books(), invoice={**invoice(), **doctored}).faults != []


def test_late_traffic_moves_no_split_and_is_not_missed() -> None:
    books = true_books()
    books.traffic.append(Traffic("late", "r", "of r", "green", "k", 0, 10**6, at(9000)))
    books.segments.append(Segment("late", 0, at(90_000)))
    assert audited(books).faults == []


def test_a_machine_lives_by_the_providers_monotonic_clock(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    events = [
        ("running", 10**18, 5 * 10**9, "boot"),
        ("stopping", 10**18 + 10**9, 6 * 10**9, "boot"),
        ("terminated", 10**18 - 3600 * 10**9, 9 * 10**9, "boot"),
    ]
    lines = [{"event": e, "tag": "m", "wall_ns": w, "monotonic_ns": m, "boot_id": b} for e, w, m, b in events]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_machines(log) == [Machine("m", 10**12, 10**12 + 4000)]
