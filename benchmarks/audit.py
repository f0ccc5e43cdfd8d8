"""An audit of a home's bill by a program that shares no code with billing: the provider's log against the rows.

*Time.* Every machine ran, by the provider's own log, from `running` to `terminated`. Every millisecond of that must be
in exactly one usage record of exactly one attempt, replica or hold that was on that machine then, or in a *named*
overhead:

- boot: the machine runs, its first assignment has not started (or it never got one)
- handover: between the end of one bill and the start of the next on the same machine
- teardown: after its last billed millisecond, until no process of it is left
- platform_fault: the same two after something that was lost, interrupted or broken by the platform

and each attempt, replica and hold is billed what it owes: from its start the whole milliseconds that its agent counted
(a hold: from its start to its end), never more than passed until it was closed.

*Calls.* Every call that a usage segment tells is in one usage record; with what clients counted: every answered call is
billed, and none that was never sent.

*Money.* Every record is charged: its charges cover its period and its quantity, each at a price that was in force in
all of the charge's period, quantity times price to the last decimal; in proportion to time at a price change, and to
compute time over an endpoint's variants. An invoice's lines are the charges, each rounded once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from itertools import pairwise
from typing import Any

from benchmarks.books import Books, Charge, Duty, Machine, Price, Traffic, Usage

EPOCH = datetime.fromtimestamp(0, UTC)
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)
OVERHEADS = ("boot", "handover", "teardown", "platform_fault")
UNSURE_SECONDS = 2.0
"""A segment that came this close to the rating may have been seen by it, or not."""
DIGITS = 80
INVOICE_GROUPS = ("resource_id", "variant", "sku", "unit", "unit_price")


@dataclass
class Audit:
    """What was found. `off_ms`: machine time that is billed wrongly; `faults`: that, and all else that must not be."""

    machines: int = 0
    provider_ms: int = 0
    billed_ms: int = 0
    off_ms: int = 0
    overhead_ms: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OVERHEADS, 0))
    calls: int = 0
    charges: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, milliseconds: int | None = None) -> None:
        """Something that must not be."""
        self.faults.append(what if milliseconds is None else f"{what}: {milliseconds} ms")
        self.off_ms += abs(milliseconds or 0)


@dataclass(frozen=True)
class Told:
    """What the clients of an endpoint counted: calls answered, and calls of which they do not know."""

    answered: int
    unknown: int = 0


def audit(books: Books, *, told: Mapping[str, Told] | None = None, invoice: Mapping[str, Any] | None = None) -> Audit:
    """The whole audit. Machines must all have ended, and all usage be rated.

    `told`: endpoint id → what its clients counted. `invoice`: the API's answer for the month of all charges.
    """
    found = Audit()
    audit_time(found, books)
    audit_calls(found, books, told or {})
    audit_money(found, books)
    if invoice is not None:
        audit_invoice(found, books.charges, invoice)
    return found


# --- time -----------------------------------------------------------------------------------------


def audit_time(found: Audit, books: Books) -> None:
    """Every millisecond of every machine."""
    slices: dict[str, list[Usage]] = defaultdict(list)
    for one in books.usage:
        if one.kind != "calls":
            slices[one.tag or "no machine"].append(one)
    duties = {duty.source: duty for duty in books.duties}
    for tag in slices.keys() - {machine.tag for machine in books.machines}:
        found.fault(f"{tag} is billed and never ran", sum(map(_length, slices[tag])))
    for machine in books.machines:
        audit_machine(found, machine, slices.get(machine.tag, []), duties)
    unexplained = found.provider_ms - found.billed_ms - sum(found.overhead_ms.values())
    if unexplained and not found.faults:
        found.fault("neither billed nor a named overhead", unexplained)
    by_source: dict[str, list[Usage]] = defaultdict(list)
    for one in (each for every in slices.values() for each in every):
        by_source[one.source].append(one)
    for duty in books.duties:
        audit_duty(found, duty, by_source.get(duty.source, []))


def audit_machine(found: Audit, machine: Machine, slices: Sequence[Usage], duties: Mapping[str, Duty]) -> None:
    """One machine: slices in order of time, nothing twice, and a name for what lies between."""
    if machine.ended_ms is None:
        found.fault(f"{machine.tag} still runs")
        return
    found.machines += 1
    found.provider_ms += machine.ended_ms - machine.began_ms
    at, last = machine.began_ms, None
    for one in sorted(slices, key=lambda each: each.from_at):
        gap = _unix_ms(one.from_at) - at
        if gap < 0:
            found.fault(f"{machine.tag} is billed twice, or before it ran", gap)
        elif gap and last == one.source:
            found.fault(f"{machine.tag} has a hole in the slices of {one.source}", gap)
        else:
            found.overhead_ms[_name(duties.get(last or ""), "boot", "handover")] += gap
        audit_slice(found, one, duties.get(one.source))
        found.billed_ms += _length(one)
        at, last = _unix_ms(one.to_at), one.source
    if at > machine.ended_ms:
        found.fault(f"{machine.tag} is billed after it ended", at - machine.ended_ms)
    found.overhead_ms[_name(duties.get(last or ""), "boot", "teardown")] += machine.ended_ms - at


def _name(before: Duty | None, nothing: str, otherwise: str) -> str:
    """Of the time after a duty."""
    if before is None:
        return nothing
    return "platform_fault" if before.at_fault else otherwise


def audit_slice(found: Audit, one: Usage, duty: Duty | None) -> None:
    """A record of instance-seconds: its quantity is its period, and its source was on that machine."""
    if one.quantity != Decimal(_length(one)) / 1000:
        found.fault(
            f"{one.source}: {one.quantity} s used in {_length(one)} ms", _length(one) - round(one.quantity * 1000)
        )
    if duty is None:
        found.fault(f"{one.kind} {one.source} is billed and was never assigned", _length(one))
    elif (duty.tag, duty.kind) != (one.tag, one.kind):
        found.fault(
            f"{one.kind} {one.source} is billed on {one.tag}, and was a {duty.kind} on {duty.tag}", _length(one)
        )


def audit_duty(found: Audit, duty: Duty, slices: Sequence[Usage]) -> None:
    """An attempt, replica or hold: billed from its start, without a hole, what it owes."""
    if duty.ended_at is None:
        found.fault(f"{duty.kind} {duty.source} has not ended")
        return
    billed = sum(map(_length, slices))
    owed = _owed(duty)
    if billed != owed:
        found.fault(f"{duty.kind} {duty.source} is billed {billed} ms and owes {owed} ms", billed - owed)
    if slices and min(one.from_at for one in slices) != duty.started_at:
        found.fault(f"{duty.kind} {duty.source} is not billed from its start")


def _owed(duty: Duty) -> int:
    assert duty.ended_at is not None
    passed = (duty.ended_at - duty.started_at) // MILLISECOND
    if duty.kind == "hold":
        return passed
    seconds = duty.told_seconds if duty.told_seconds is not None else duty.heard_seconds or 0.0
    return min(max(timedelta(seconds=seconds), timedelta(0)) // MILLISECOND, passed)


# --- calls ----------------------------------------------------------------------------------------


def audit_calls(found: Audit, books: Books, told: Mapping[str, Told]) -> None:
    """Every call that a segment tells is in one usage record; what clients counted is billed."""
    by_segment: dict[str, int] = defaultdict(int)
    for row in books.traffic:
        by_segment[row.segment] += row.calls
    found.calls += sum(by_segment.values())
    for segment in books.segments:
        counted = by_segment[segment.segment]
        if counted != segment.calls:
            found.fault(f"segment {segment.segment} tells {segment.calls} calls, {counted} are counted")
    calls = [one for one in books.usage if one.kind == "calls"]
    audit_segments(found, books.traffic, calls)
    for endpoint, count in told.items():
        billed = sum((one.quantity for one in calls if one.resource == endpoint), Decimal(0))
        if not count.answered <= billed <= count.answered + count.unknown:
            found.fault(f"endpoint {endpoint}: {count.answered} answered, {count.unknown} unknown, {billed} billed")


def audit_segments(found: Audit, traffic: Sequence[Traffic], calls: Sequence[Usage]) -> None:
    """The calls of each variant and key of each segment are one usage record of that endpoint."""
    recorded: dict[tuple[str | None, ...], list[Usage]] = defaultdict(list)
    for one in calls:
        recorded[one.segment, one.variant, one.key, one.resource].append(one)
    for row in traffic:
        used = recorded.pop((row.segment, row.variant, row.key, row.endpoint), [])
        quantity = sum((one.quantity for one in used), Decimal(0))
        if quantity != row.calls or len(used) > 1:
            found.fault(f"segment {row.segment}, {row.variant}: {row.calls} calls, {quantity} in {len(used)} records")
    for segment, *_ in recorded:
        found.fault(f"calls of segment {segment} are billed that no segment tells")


# --- money ----------------------------------------------------------------------------------------


def audit_money(found: Audit, books: Books) -> None:
    """Every record is charged, at the prices then in force."""
    prices = {price.price: price for price in books.prices}
    charges: dict[str, list[Charge]] = defaultdict(list)
    for charge in books.charges:
        charges[charge.record].append(charge)
    known = {one.record for one in books.usage}
    for record in charges.keys() - known:
        found.fault(f"charges of record {record}, which does not exist")
    with localcontext(prec=DIGITS):
        for one in books.usage:
            audit_record(found, one, charges.get(one.record, []), prices)
            if one.kind == "replica":
                audit_split(found, one, charges.get(one.record, []), books)
            elif one.kind == "calls" and any(charge.variant != one.variant for charge in charges[one.record]):
                found.fault(f"calls of {one.variant} in record {one.record} are charged to another variant")


def audit_record(found: Audit, one: Usage, charges: Sequence[Charge], prices: Mapping[str, Price]) -> None:
    """The charges of one record: complete, exact, at the right price."""
    if one.rated_at is None or not charges:
        found.fault(f"record {one.record} of {one.quantity} {one.sku} is not charged")
        return
    charged = sum((charge.quantity for charge in charges), Decimal(0))
    if charged != one.quantity:
        found.fault(f"record {one.record}: {one.quantity} {one.sku} used, {charged} charged")
    for charge in charges:
        found.charges += 1
        audit_charge(found, one, charge, prices.get(charge.price))
    periods = sorted({(charge.from_at, charge.to_at) for charge in charges})
    whole = periods[0][0] == one.from_at and periods[-1][1] == one.to_at
    if not whole or any(before[1] != after[0] for before, after in pairwise(periods)):
        found.fault(f"record {one.record}: its charges do not cover its period, once")
    for from_at, to_at in periods if len(periods) > 1 else []:
        part = sum((each.quantity for each in charges if each.from_at == from_at), Decimal(0))
        due = one.quantity * ((to_at - from_at) // MICROSECOND) / ((one.to_at - one.from_at) // MICROSECOND)
        if abs(part - due) > _grain(one) * len(periods):
            found.fault(f"record {one.record}: {part} of {one.quantity} charged in a part of its time that is {due}")


def audit_charge(found: Audit, one: Usage, charge: Charge, price: Price | None) -> None:
    """Quantity times the price that was in force all the while."""
    if price is None or (price.sku, price.amount) != (charge.sku, charge.unit_price) or charge.sku != one.sku:
        found.fault(f"record {one.record} is charged at {charge.unit_price} for {charge.sku}, which is no price of it")
    elif price.from_at > charge.from_at or (price.to_at is not None and price.to_at < charge.to_at):
        found.fault(f"record {one.record} is charged at {charge.unit_price}, a price not in force then")
    if charge.amount != charge.quantity * charge.unit_price:
        found.fault(f"record {one.record}: {charge.quantity} x {charge.unit_price} is charged as {charge.amount}")
    if charge.resource != one.resource:
        found.fault(f"record {one.record} of {one.resource} is charged to {charge.resource}")


def _grain(one: Usage) -> Decimal:
    return Decimal(1) if one.kind == "calls" else Decimal("0.001")


def audit_split(found: Audit, one: Usage, charges: Sequence[Charge], books: Books) -> None:
    """A replica's seconds, over its variants by the compute time of the traffic that had come when it was rated."""
    if one.rated_at is None:
        return
    received = {segment.segment: segment.received_at for segment in books.segments}
    mine = [row for row in books.traffic if row.replica == one.source and one.from_at <= row.from_at < one.to_at]
    unsure = timedelta(seconds=UNSURE_SECONDS)
    if any(abs(received[row.segment] - one.rated_at) < unsure for row in mine):
        return
    compute = _compute(row for row in mine if received[row.segment] < one.rated_at)
    total = sum(compute.values())
    split: dict[str, Decimal] = defaultdict(Decimal)
    for charge in charges:
        split[charge.variant] += charge.quantity
    due = {name: one.quantity * share / total for name, share in compute.items()} if total else {"": one.quantity}
    most = Decimal("0.001") * (len(due) + len(charges))
    for name in split.keys() | due.keys():
        if abs(split.get(name, Decimal(0)) - due.get(name, Decimal(0))) > most:
            found.fault(
                f"record {one.record}: {split.get(name, 0)} s charged to '{name}', its share is {due.get(name, 0)}"
            )


def _compute(traffic: Iterable[Traffic]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for row in traffic:
        if row.variant and row.compute_us:
            sums[row.variant] += row.compute_us
    return dict(sums)


def audit_invoice(found: Audit, charges: Sequence[Charge], invoice: Mapping[str, Any]) -> None:
    """An invoice of all these charges: one line per resource, variant, SKU and price, rounded once, half-even."""
    sums: dict[tuple[str, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for charge in charges:
        price = str(charge.unit_price.normalize())
        line = sums[charge.resource, charge.variant, charge.sku, charge.unit, price]
        line[0] += charge.quantity
        line[1] += charge.amount
    total = Decimal(0)
    for line in invoice["lines"]:
        *names, price = (line[name] for name in INVOICE_GROUPS)
        quantity, amount = sums.pop((*names, str(Decimal(price).normalize())), [Decimal(0), Decimal(0)])
        rounded = amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
        total += rounded
        if (Decimal(line["quantity"]), Decimal(line["amount"]), Decimal(line["rounded"])) != (
            quantity,
            amount,
            rounded,
        ):
            found.fault(
                f"invoice line {names}: {line['quantity']} for {line['amount']}, charged {quantity} for {amount}"
            )
    for left in sums:
        found.fault(f"charges of {left} are on no invoice line")
    exact = sum((charge.amount for charge in charges), Decimal(0))
    if (Decimal(invoice["total"]), Decimal(invoice["exact_total"])) != (total, exact):
        found.fault(f"the invoice is {invoice['total']} ({invoice['exact_total']}), its lines {total} ({exact})")


def _length(one: Usage) -> int:
    return (one.to_at - one.from_at) // MILLISECOND


def _unix_ms(moment: datetime) -> int:
    return (moment - EPOCH) // MILLISECOND
