"""An audit of a home's bill by a program that shares no code with billing: the provider's log against the rows.

Every machine ran, by the provider's own log, from `running` to `terminated`. Every millisecond of that must be in
exactly one usage record, or in a *named* overhead:

- boot: the machine runs, its first assignment has not started (or it never got one)
- handover: between the end of one assignment's bill and the start of the next on the same machine
- teardown: after its last billed millisecond, until no process of it is left

`off` counts milliseconds for which that is not so: billed outside of the machine's life, billed twice, or a
record whose quantity is not its period. What was billed is compared with what was owed,
too: an attempt that said how it ended owes the whole milliseconds its agent counted.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

EPOCH = datetime.fromtimestamp(0, UTC)
MILLISECOND = timedelta(milliseconds=1)
NANOSECONDS_PER_MILLISECOND = 10**6


@dataclass
class Audit:
    """What was found, in milliseconds."""

    machines: int = 0
    provider_ms: int = 0
    billed_ms: int = 0
    off_ms: int = 0
    overhead_ms: dict[str, int] = field(default_factory=lambda: {"boot": 0, "handover": 0, "teardown": 0})
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, milliseconds: int) -> None:
        """Something that must not be."""
        self.faults.append(f"{what}: {milliseconds} ms")
        self.off_ms += abs(milliseconds)


@dataclass(frozen=True)
class Slice:
    """A usage record of an instance, in Unix milliseconds."""

    from_ms: int
    to_ms: int
    quantity: Decimal
    charged: Decimal
    source: str


def machine_lives(log: Path) -> dict[str, tuple[int, int]]:
    """Tag → (running, terminated) in Unix milliseconds, of every machine that ran."""
    lives: dict[str, dict[str, int]] = defaultdict(dict)
    for line in log.read_text().splitlines():
        event = json.loads(line)
        lives[event["tag"]][event["event"]] = event["wall_ns"] // NANOSECONDS_PER_MILLISECOND
    return {tag: (life["running"], life["terminated"]) for tag, life in lives.items() if "running" in life}


def slices_by_tag(connection: Connection) -> dict[str, list[Slice]]:
    """Usage of instances by the tag of their machine, in order of time."""
    rows = connection.exec_driver_sql(
        """
        SELECT instances.tag, used.from_at, used.to_at, used.quantity, used.source_id::text,
               coalesce((SELECT sum(quantity) FROM charges WHERE usage_record_id = used.id), 0)
        FROM usage_records AS used JOIN instances ON instances.id::text = used.detail->>'instance_id'
        ORDER BY used.from_at
        """
    )
    found: dict[str, list[Slice]] = defaultdict(list)
    for tag, from_at, to_at, quantity, source, charged in rows:
        found[tag].append(Slice(_unix_ms(from_at), _unix_ms(to_at), quantity, charged, source))
    return found


def _unix_ms(moment: datetime) -> int:
    return (moment - EPOCH) // MILLISECOND


def audit_machines(log: Path, connection: Connection) -> Audit:
    """The whole audit. Machines must all have ended."""
    audit = Audit()
    slices = slices_by_tag(connection)
    lives = machine_lives(log)
    for tag in slices.keys() - lives.keys():
        audit.fault(f"{tag} is billed and never ran", sum(one.to_ms - one.from_ms for one in slices[tag]))
    for tag, (began, ended) in lives.items():
        audit.machines += 1
        audit.provider_ms += ended - began
        audit_machine(audit, tag, began, ended, slices.get(tag, []))
    unexplained = audit.provider_ms - audit.billed_ms - sum(audit.overhead_ms.values())
    if unexplained:
        audit.fault("neither billed nor a named overhead", unexplained)
    for attempt, billed, owed in _attempts(connection):
        if billed != owed:
            audit.fault(f"attempt {attempt} is billed {billed} ms and owes {owed} ms", billed - owed)
    return audit


def audit_machine(audit: Audit, tag: str, began: int, ended: int, slices: list[Slice]) -> None:
    """One machine that ran from `began` to `ended` (Unix ms); its slices in order of time."""
    at, source = began, ""
    for one in slices:
        gap = one.from_ms - at
        if gap < 0:
            audit.fault(f"{tag} is billed twice, or before it ran", gap)
        elif gap and source == one.source:
            audit.fault(f"{tag} has a hole in the slices of {source}", gap)
        else:
            audit.overhead_ms["handover" if source else "boot"] += gap
        length = one.to_ms - one.from_ms
        if one.quantity != Decimal(length) / 1000 or one.charged != one.quantity:
            audit.fault(f"{tag}: {one.quantity} s used, {one.charged} s charged", length - round(one.charged * 1000))
        audit.billed_ms += length
        at, source = one.to_ms, one.source
    if at > ended:
        audit.fault(f"{tag} is billed after it ended", at - ended)
    audit.overhead_ms["teardown" if source else "boot"] += ended - at


def _attempts(connection: Connection) -> Iterable[tuple[str, int, int]]:
    """(attempt, milliseconds billed, milliseconds owed) of those whose end their agent told.

    Owed: the agent's monotonic seconds, but never beyond the moment at which the assignment was closed.
    """
    rows = connection.exec_driver_sql(
        """
        SELECT assignments.subject_id::text, assignments.started_at, assignments.ended_at, reports.elapsed_seconds,
               (SELECT coalesce(sum(quantity), 0) FROM usage_records WHERE source_id = assignments.subject_id)
        FROM assignments JOIN reports ON reports.assignment_id = assignments.id AND reports.kind = 'ended'
        WHERE assignments.started_at IS NOT NULL AND assignments.subject_kind = 'attempt'
        """
    )
    for subject, started_at, ended_at, elapsed, billed in rows:
        owed = timedelta(seconds=elapsed) // MILLISECOND
        closed = (ended_at - started_at) // MILLISECOND
        paid = round(billed * 1000)
        # The clock is read a moment before the row says `ended_at`: within that moment the limit itself is met.
        yield subject, paid, paid if closed < owed and 0 <= closed - paid < 1000 else owed


def replay(connection: Connection) -> dict[str, Any]:
    """Deliver every usage record once more: how many are there before and after, and their exact sums."""
    bill = "SELECT count(*), coalesce(sum(quantity), 0) FROM usage_records"
    before = connection.exec_driver_sql(bill).one()
    connection.exec_driver_sql(
        """
        INSERT INTO usage_records (id, organization_id, project_id, source_kind, source_id, resource_kind, resource_id,
                                   resource_name, sku, quantity, from_at, to_at, detail)
        SELECT gen_random_uuid(), organization_id, project_id, source_kind, source_id, resource_kind, resource_id,
               resource_name, sku, quantity, from_at, to_at, detail
        FROM usage_records ON CONFLICT DO NOTHING
        """
    )
    after = connection.exec_driver_sql(bill).one()
    return {"records": before[0], "identical": tuple(before) == tuple(after)}
