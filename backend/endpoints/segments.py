"""Usage segments: what replicas wrote down, counted once, whatever is delivered how often."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeVar
from uuid import UUID, uuid5

import msgspec
from sqlalchemy.orm import Session

from backend.billing.service import record_usage
from backend.core import wire
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.endpoints.errors import SegmentChanged, SegmentMalformed
from backend.endpoints.traffic_repository import SUMMED, TrafficRepository
from backend.fleet.models import Assignment

CALL_SKU: Final = "inference:call"
LARGEST_COUNT: Final = 2**53
MOST_SUMS: Final = 5000
"""Pairs of variant and key in one segment, each of which becomes rows: seconds of traffic have fewer."""
UNKNOWN_VARIANT: Final = ""
Message = TypeVar("Message")


@dataclass
class Sums:
    """Traffic of one variant and key inside one segment; times are Unix seconds."""

    calls: int = 0
    items: int = 0
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    compute_us: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    first: float = math.inf
    last: float = -math.inf

    def add(self, line: wire.UsageLine) -> None:
        """Count one more line."""
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(line, name))
        self.latency.update(line.latency)
        self.first, self.last = min(self.first, line.at), max(self.last, line.at)


@dataclass(frozen=True)
class Segment:
    """A parsed segment: its header and the sums per (variant, key)."""

    header: wire.UsageHeader
    sums: dict[tuple[str, UUID], Sums] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """Successful calls in all."""
        return sum(one.calls for one in self.sums.values())


def parse_segment(content: bytes, *, variants: Sequence[str]) -> Segment:
    """Header and sums of a segment file (JSON lines). Raises SegmentMalformed naming the line.

    A refused call may name a variant that the replica does not host; it is counted without one. Counts are whole
    numbers from 0 to 2^53.
    """
    lines = content.splitlines()
    if not lines:
        raise SegmentMalformed("line 1: a segment begins with its header")
    segment = Segment(_decode(lines[0], wire.UsageHeader, 1))
    for number, raw in enumerate(lines[1:], start=2):
        line = _decode(raw, wire.UsageLine, number)
        counts = [getattr(line, name) for name in SUMMED]
        if min(counts) < 0 or max(counts) > LARGEST_COUNT or not 0 <= line.at < 2**36:
            raise SegmentMalformed(f"line {number}: a count or time is out of range")
        if not _latency_holds(line):
            raise SegmentMalformed(f"line {number}: its latencies are not those of its calls")
        variant = line.variant
        if variant not in variants:
            if line.calls:
                raise SegmentMalformed(f"line {number}: this replica hosts no variant '{variant[:64]}'")
            variant = UNKNOWN_VARIANT
        segment.sums.setdefault((variant, _uuid(line.key_id, number)), Sums()).add(line)
        if len(segment.sums) > MOST_SUMS:
            raise SegmentMalformed(f"line {number}: more than {MOST_SUMS} keys and variants in one segment")
    if any(max(getattr(one, name) for name in SUMMED) > LARGEST_COUNT for one in segment.sums.values()):
        raise SegmentMalformed("the counts of the segment are out of range")
    return segment


def _decode(raw: bytes, kind: type[Message], number: int) -> Message:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SegmentMalformed(f"line {number}: {error}") from error


def _latency_holds(line: wire.UsageLine) -> bool:
    """Buckets that exist, counts of calls that there were. A replica of an earlier version says nothing."""
    counts = line.latency.values()
    return all(0 <= bucket < wire.LATENCY_BUCKETS for bucket in line.latency) and (
        not counts or (min(counts) >= 0 and sum(counts) <= line.calls)
    )


def _uuid(text: str, number: int) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise SegmentMalformed(f"line {number}: '{text[:64]}' is not an id") from error


def accept_segment(session: Session, scope: Scope, assignment: Assignment, segment_id: UUID, content: bytes) -> bool:
    """Count a segment of this assignment: traffic per variant and key, and usage of its calls. One transaction.

    False = a segment of this id with this content was accepted before: nothing changed. Raises SegmentMalformed
    where it cannot be read or is another replica's, SegmentChanged where this id had other content.
    """
    if assignment.subject_kind != "replica":
        raise SegmentMalformed(f"assignment {assignment.id} is no replica's")
    spec = msgspec.convert(assignment.spec, wire.ReplicaSpec)
    segment = parse_segment(content, variants=[variant.name for variant in spec.variants])
    _check_owner(segment.header, spec, segment_id)
    traffic = TrafficRepository(session, scope)
    strange = traffic.strange_keys({key_id for _, key_id in segment.sums})
    if strange:
        raise SegmentMalformed(f"this organization never had a key {min(strange)}")
    digest = hashlib.sha256(content).hexdigest()
    added = traffic.insert_segment(
        segment_id=segment_id, replica_id=assignment.subject_id, sha256=digest, calls=segment.calls
    )
    if not added:
        known = traffic.segment(segment_id)
        if known is None or known.sha256 != digest:
            raise SegmentChanged(f"segment {segment_id} was accepted with other content")
        return False
    _count(session, scope, assignment, segment_id, segment)
    return True


def _check_owner(header: wire.UsageHeader, spec: wire.ReplicaSpec, segment_id: UUID) -> None:
    if header.segment_id != str(segment_id):
        raise SegmentMalformed(f"the header names segment '{header.segment_id[:64]}', the address {segment_id}")
    if header.replica_id != spec.replica_id or header.endpoint_id != spec.endpoint_id:
        raise SegmentMalformed("the header names another replica than the assignment's")


def _count(session: Session, scope: Scope, assignment: Assignment, segment_id: UUID, segment: Segment) -> None:
    if not segment.sums:
        return
    now = database_now(session)
    earliest = assignment.started_at or assignment.created_at
    rows = []
    for (variant, key_id), sums in sorted(segment.sums.items()):
        # The replica's host may have another time: what it says is held within what Postgres's clock allows.
        from_at, to_at = _within(sums.first, earliest, now), _within(sums.last, earliest, now)
        rows.append(
            {
                "segment_id": segment_id,
                "endpoint_id": assignment.resource_id,
                "replica_id": assignment.subject_id,
                "variant": variant,
                "key_id": key_id,
                "from_at": from_at,
                "to_at": to_at,
                "latency": {str(bucket): count for bucket, count in sorted(sums.latency.items())},
                **{name: getattr(sums, name) for name in SUMMED},
            }
        )
        if sums.calls:
            record_usage(
                session,
                scope,
                project_id=assignment.project_id,
                source_kind="calls",
                source_id=uuid5(segment_id, f"{variant}/{key_id}"),
                resource_kind="endpoint",
                resource_id=assignment.resource_id,
                resource_name=assignment.resource_name,
                sku=CALL_SKU,
                quantity=Decimal(sums.calls),
                from_at=from_at,
                to_at=to_at,
                detail={"variant": variant, "key_id": str(key_id), "segment_id": str(segment_id)},
            )
    TrafficRepository(session, scope).add_traffic(rows)


def _within(seconds: float, earliest: datetime, latest: datetime) -> datetime:
    return max(earliest, min(datetime.fromtimestamp(seconds, UTC), latest))
