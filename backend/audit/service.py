"""Use cases of audit: record, list, seal, verify."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit.models import AuditEvent
from backend.audit.repository import AuditRepository, UnscopedAuditRepository
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.pagination import PageRequest

GENESIS = bytes(32)
"""What the first event of a chain has for the hash of the event before it."""


@dataclass(frozen=True)
class ChainReport:
    """What `verify_chain` found. `broken_at`: sequence of the first event that does not fit; None = whole.

    `head`: hash of the last good event. A chain cannot tell that its own end was cut off: whoever must prove that
    keeps `checked` and `head` somewhere else.
    """

    checked: int
    broken_at: int | None
    head: bytes


def record(
    session: Session,
    principal_or_actor: Principal | str,
    scope: Scope,
    *,
    action: str,
    resource_kind: str,
    resource_id: UUID | str,
    detail: Mapping[str, Any],
) -> None:
    """Append one act to the audit, in the transaction of the act. `detail` holds JSON values, never secrets."""
    actor = principal_or_actor if isinstance(principal_or_actor, str) else principal_or_actor.actor
    AuditRepository(session, scope).add(
        AuditEvent(
            organization_id=scope.organization_id,
            actor=actor,
            action=action,
            resource_kind=resource_kind,
            resource_id=str(resource_id),
            detail=dict(detail),
        )
    )


def list_events(session: Session, scope: Scope, page: PageRequest) -> tuple[list[AuditEvent], str | None]:
    """One page of events, newest first."""
    return AuditRepository(session, scope).list_events(page)


def list_everybodys(
    session: Session, organization_id: UUID | None, action: str, page: PageRequest
) -> tuple[list[AuditEvent], str | None]:
    """One page of one organization's events, or of all, newest first. Role *operator*. Raises InvalidCursor."""
    return UnscopedAuditRepository(session).page(organization_id, action, page)


def seal_pending(session: Session, limit: int) -> int:
    """Seal up to `limit` events of all organizations; how many. Role *controller*. 0 while another seals."""
    every = UnscopedAuditRepository(session)
    if not every.try_lock():
        return 0
    events = sorted(every.unsealed(limit), key=lambda event: (event.organization_id, event.at, event.id))
    for organization_id, own in groupby(events, key=lambda event: event.organization_id):
        _extend(every.of(organization_id), own)
    return len(events)


def _extend(audit: AuditRepository, events: Iterable[AuditEvent]) -> None:
    last = audit.last_sealed()
    sequence, previous = (0, GENESIS) if last is None else (last.sequence or 0, last.hash or GENESIS)
    for event in events:
        sequence += 1
        event.sequence = sequence
        event.previous_hash = previous
        event.hash = previous = chain_hash(event, sequence, previous)


def verify_chain(session: Session, scope: Scope) -> ChainReport:
    """Walk an organization's chain from its start; memory stays flat."""
    previous, checked = GENESIS, 0
    for event in AuditRepository(session, scope).sealed():
        expected = chain_hash(event, checked + 1, previous)
        if event.sequence != checked + 1 or event.previous_hash != previous or event.hash != expected:
            return ChainReport(checked, event.sequence, previous)
        previous, checked = expected, checked + 1
    return ChainReport(checked, None, previous)


def chain_hash(event: AuditEvent, sequence: int, previous: bytes) -> bytes:
    """SHA-256(previous hash ‖ canonical JSON of the event: sorted keys, no spaces, ASCII, UTC microseconds)."""
    body = {
        "id": str(event.id),
        "organization_id": str(event.organization_id),
        "sequence": sequence,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": event.actor,
        "action": event.action,
        "resource_kind": event.resource_kind,
        "resource_id": event.resource_id,
        "detail": event.detail,
    }
    return hashlib.sha256(previous + json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).digest()
