"""All SQL of audit."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.audit.models import AuditEvent
from backend.core.db import Scope
from backend.core.pagination import PageRequest, fetch_page

_BATCH = 1000
SEAL_LOCK = 0x4D59_0001  # one sealer at a time in the whole cluster


class AuditRepository:
    """Events of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def add(self, event: AuditEvent) -> None:
        """Append one event."""
        self._session.add(event)

    def list_events(self, page: PageRequest) -> tuple[list[AuditEvent], str | None]:
        """Newest first."""
        mine = select(AuditEvent).where(AuditEvent.organization_id == self._scope.organization_id)
        return fetch_page(self._session, mine, page, keys=[AuditEvent.at, AuditEvent.id])

    def last_sealed(self) -> AuditEvent | None:
        """The end of the chain."""
        return self._session.scalars(
            select(AuditEvent)
            .where(AuditEvent.organization_id == self._scope.organization_id, AuditEvent.sequence.is_not(None))
            .order_by(AuditEvent.sequence.desc())
            .limit(1)
        ).one_or_none()

    def sealed(self) -> Iterator[AuditEvent]:
        """The chain from its start, a thousand rows at a time."""
        last = -1
        while True:
            rows = self._session.scalars(
                select(AuditEvent)
                .where(AuditEvent.organization_id == self._scope.organization_id, AuditEvent.sequence > last)
                .order_by(AuditEvent.sequence)
                .limit(_BATCH)
            ).all()
            yield from rows
            if len(rows) < _BATCH:
                return
            last = rows[-1].sequence or 0
            for row in rows:
                self._session.expunge(row)


class UnscopedAuditRepository:
    """What the sealing task (role *controller*) sees: every organization."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def try_lock(self) -> bool:
        """Whether this transaction is now the only sealer."""
        return bool(self._session.scalar(select(func.pg_try_advisory_xact_lock(SEAL_LOCK))))

    def unsealed(self, limit: int) -> Sequence[AuditEvent]:
        """Events not yet in a chain, oldest first."""
        return self._session.scalars(
            select(AuditEvent).where(AuditEvent.sequence.is_(None)).order_by(AuditEvent.at, AuditEvent.id).limit(limit)
        ).all()

    def page(self, organization_id: UUID | None, action: str, page: PageRequest) -> tuple[list[AuditEvent], str | None]:
        """Newest first, of one organization or of all; `action`: how it begins. Role *operator*."""
        query = select(AuditEvent)
        if organization_id is not None:
            query = query.where(AuditEvent.organization_id == organization_id)
        if action:
            query = query.where(AuditEvent.action.startswith(action, autoescape=True))
        return fetch_page(self._session, query, page, keys=[AuditEvent.id], sorts={"at": [AuditEvent.id]})

    def of(self, organization_id: UUID) -> AuditRepository:
        """The events of one organization."""
        return AuditRepository(self._session, Scope(organization_id))
