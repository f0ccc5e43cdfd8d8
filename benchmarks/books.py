"""What the audit reads: the provider's own log and the rows, as plain values. It shares no code with billing.

Times are as Postgres wrote them, seconds and money as decimals. Of a machine: Unix milliseconds of its start by the
provider's wall clock, and its length by the provider's monotonic clock (so that a clock that is set meanwhile
changes no bill).
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

NANOSECONDS_PER_MILLISECOND = 10**6


@dataclass(frozen=True)
class Machine:
    """One machine of the provider's, from `running` to `terminated` (Unix ms); `ended_ms` None = it still runs."""

    tag: str
    began_ms: int
    ended_ms: int | None


@dataclass(frozen=True)
class Duty:
    """What a machine did for somebody: an attempt, a replica or a hold.

    `told_seconds`: what its agent said at its end; `heard_seconds`: what its agent said last. `at_fault`: it was lost,
    or ended by an interruption or a fault of the platform.
    """

    kind: str
    source: str
    tag: str
    started_at: datetime
    ended_at: datetime | None
    told_seconds: float | None = None
    heard_seconds: float | None = None
    at_fault: bool = False


@dataclass(frozen=True)
class Usage:
    """A usage record. `tag`: of the machine it was on; `segment`, `variant`, `key`: of calls."""

    record: str
    kind: str
    source: str
    sku: str
    quantity: Decimal
    from_at: datetime
    to_at: datetime
    rated_at: datetime | None
    resource: str
    tag: str | None = None
    segment: str | None = None
    variant: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Charge:
    """A charge, with what an invoice groups by."""

    record: str
    price: str
    variant: str
    sku: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal
    from_at: datetime
    to_at: datetime
    resource: str


@dataclass(frozen=True)
class Price:
    """A price in force in [from_at, to_at)."""

    price: str
    sku: str
    amount: Decimal
    from_at: datetime
    to_at: datetime | None


@dataclass(frozen=True)
class Traffic:
    """What one segment says of one variant and key."""

    segment: str
    replica: str
    endpoint: str
    variant: str
    key: str
    calls: int
    compute_us: int
    from_at: datetime


@dataclass(frozen=True)
class Segment:
    """A usage segment that was accepted."""

    segment: str
    calls: int
    received_at: datetime


@dataclass
class Books:
    """Everything of one home."""

    machines: list[Machine] = field(default_factory=list)
    duties: list[Duty] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    prices: list[Price] = field(default_factory=list)
    traffic: list[Traffic] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


DUTIES = """
    SELECT each.subject_kind, each.subject_id::text, instances.tag, each.started_at, each.ended_at,
           told.elapsed_seconds, heard.elapsed_seconds,
           coalesce(told.body #>> '{failure,failure_class}' IN ('interruption', 'platform'), told.id IS NULL)
    FROM assignments AS each
    JOIN instances ON instances.id = each.instance_id
    LEFT JOIN reports AS told ON told.assignment_id = each.id AND told.kind = 'ended'
    LEFT JOIN assignment_heartbeats AS heard ON heard.assignment_id = each.id
    WHERE each.started_at IS NOT NULL
    UNION ALL
    SELECT 'hold', each.id::text, instances.tag, each.started_at, each.ended_at, NULL, NULL, false
    FROM holds AS each JOIN instances ON instances.id = each.instance_id
"""
USAGE = """
    SELECT used.id::text, used.source_kind, used.source_id::text, used.sku, used.quantity, used.from_at, used.to_at,
           used.rated_at, used.resource_id::text, instances.tag, used.detail->>'segment_id', used.detail->>'variant',
           used.detail->>'key_id'
    FROM usage_records AS used LEFT JOIN instances ON instances.id::text = used.detail->>'instance_id'
    ORDER BY used.from_at, used.id
"""
CHARGES = """
    SELECT usage_record_id::text, price_id::text, variant, sku, quantity, unit, unit_price, amount, from_at, to_at,
           resource_id::text
    FROM charges ORDER BY from_at, id
"""
PRICES = "SELECT id::text, sku, amount, effective_from, effective_to FROM prices"
TRAFFIC = """
    SELECT segment_id::text, replica_id::text, endpoint_id::text, variant, key_id::text, calls, compute_us, from_at
    FROM variant_traffic
"""
SEGMENTS = "SELECT segment_id::text, calls, received_at FROM usage_segments"


def read_books(log: Path, connection: Connection) -> Books:
    """All of a home. `connection` may read every tenant's rows (the roles operator and controller may)."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.exec_driver_sql(query)]

    return Books(
        machines=read_machines(log),
        duties=[Duty(*row) for row in rows(DUTIES)],
        usage=[Usage(*row) for row in rows(USAGE)],
        charges=[Charge(*row) for row in rows(CHARGES)],
        prices=[Price(*row) for row in rows(PRICES)],
        traffic=[Traffic(*row) for row in rows(TRAFFIC)],
        segments=[Segment(*row) for row in rows(SEGMENTS)],
    )


def read_machines(log: Path) -> list[Machine]:
    """Every machine that ran, in order of its start."""
    events: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for line in log.read_text().splitlines():
        event = json.loads(line)
        events[event["tag"]][event["event"]] = event
    found = [
        Machine(tag, _milliseconds(seen["running"]["wall_ns"]), _end(seen["running"], seen.get("terminated")))
        for tag, seen in events.items()
        if "running" in seen
    ]
    return sorted(found, key=lambda machine: machine.began_ms)


def _end(running: dict[str, Any], terminated: dict[str, Any] | None) -> int | None:
    if terminated is None:
        return None
    if terminated["boot_id"] != running["boot_id"]:
        return _milliseconds(terminated["wall_ns"])
    length = terminated["monotonic_ns"] - running["monotonic_ns"]
    return _milliseconds(running["wall_ns"] + int(length))


def _milliseconds(nanoseconds: int) -> int:
    return nanoseconds // NANOSECONDS_PER_MILLISECOND
