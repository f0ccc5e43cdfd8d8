"""The audit of all organizations, as the console shows it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.pagination import PageRequest
from backend.identity import console as identity


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """Who did what to what. `sealed`: it has its place in the chain."""

    at: datetime
    organization_id: str
    organization: str
    actor: str
    action: str
    resource_kind: str
    resource_id: str
    detail: str
    sealed: bool


def read_audit(
    session: Session, organization_id: UUID | None, action: str, request: PageRequest
) -> tuple[Sequence[AuditLine], str | None]:
    """One page, newest first, and the next page's cursor."""
    found, cursor = audit.list_everybodys(session, organization_id, action, request)
    names = identity.names(session, {one.organization_id for one in found})
    people = identity.actors(session, {known for one in found if (known := _person(one.actor)) is not None})
    lines = [
        AuditLine(
            at=one.at,
            organization_id=str(one.organization_id),
            organization=names.get(one.organization_id, ""),
            actor=_named(one.actor, people),
            action=one.action,
            resource_kind=one.resource_kind,
            resource_id=one.resource_id,
            detail=json.dumps(one.detail, ensure_ascii=False) if one.detail else "",
            sealed=one.sequence is not None,
        )
        for one in found
    ]
    return lines, cursor


def _person(actor: str) -> UUID | None:
    kind, _, who = actor.partition(":")
    try:
        return UUID(who) if kind in {"user", "operator"} else None
    except ValueError:
        return None


def _named(actor: str, people: dict[UUID, str]) -> str:
    person = _person(actor)
    if person is None or person not in people:
        return actor
    return f"{people[person]} ({actor.partition(':')[0]})" if actor.startswith("operator") else people[person]
