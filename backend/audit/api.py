"""REST routes of the audit."""

from fastapi import APIRouter

from backend.audit import service
from backend.audit.models import AuditEvent
from backend.audit.schemas import AuditEventRead, ChainRead
from backend.core.http import Manager, Transaction
from backend.core.pagination import Page, PageParameters

router = APIRouter(prefix="/api/v1/audit-events", tags=["audit"])


@router.get("")
def list_audit_events(principal: Manager, session: Transaction, page: PageParameters) -> Page[AuditEventRead]:
    """List who did what, newest first."""
    rows, cursor = service.list_events(session, principal.scope, page)
    return Page(items=[_shown(row) for row in rows], next_cursor=cursor)


@router.get("/chain")
def verify_audit_chain(principal: Manager, session: Transaction) -> ChainRead:
    """Recompute the hash chain from its start."""
    report = service.verify_chain(session, principal.scope)
    return ChainRead(checked=report.checked, broken_at=report.broken_at, head=report.head.hex())


def _shown(event: AuditEvent) -> AuditEventRead:
    return AuditEventRead(
        id=event.id,
        at=event.at,
        actor=event.actor,
        action=event.action,
        resource_kind=event.resource_kind,
        resource_id=event.resource_id,
        detail=event.detail,
        sequence=event.sequence,
        hash=None if event.hash is None else event.hash.hex(),
    )
