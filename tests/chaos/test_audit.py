"""The audit of the chaos benchmark finds what it is there to find."""

from decimal import Decimal

import pytest

from benchmarks.audit import Audit, Slice, audit_machine

pytestmark = pytest.mark.unit


def part(from_ms: int, to_ms: int, source: str = "a", **other: str) -> Slice:
    length = Decimal(to_ms - from_ms) / 1000
    quantity = Decimal(other.get("quantity", length))
    return Slice(from_ms, to_ms, quantity, Decimal(other.get("charged", quantity)), source)


def audited(*slices: Slice) -> Audit:
    """A machine that ran from 1,000 to 10,000 ms."""
    audit = Audit()
    audit_machine(audit, "m", 1000, 10_000, list(slices))
    return audit


def test_contiguous_slices_leave_named_overhead_only() -> None:
    audit = audited(part(3000, 5000), part(5000, 6000), part(6500, 9000, "b"))
    assert audit.faults == []
    assert audit.billed_ms == 5500
    assert audit.overhead_ms == {"boot": 2000, "handover": 500, "teardown": 1000}


def test_a_machine_that_got_nothing_to_do_is_boot() -> None:
    assert audited().overhead_ms == {"boot": 9000, "handover": 0, "teardown": 0}


@pytest.mark.parametrize(
    ("slices", "off_ms"),
    [
        ([part(3000, 5000), part(4900, 6000, "b")], 100),
        ([part(3000, 5000), part(5001, 6000)], 1),
        ([part(900, 5000)], 100),
        ([part(3000, 10_250)], 250),
        ([part(3000, 5000, charged="1.999")], 1),
        ([part(3000, 5000, quantity="2.5")], 500),
    ],
    ids=["billed twice", "a hole", "before it ran", "after it ended", "undercharged", "more than its period"],
)
def test_what_must_not_be_is_counted(slices: list[Slice], off_ms: int) -> None:
    audit = audited(*slices)
    assert len(audit.faults) == 1
    assert audit.off_ms == off_ms
