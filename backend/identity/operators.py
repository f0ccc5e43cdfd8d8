"""Operators: who may see the admin console. Role *controller*: no request can make one, only `modelyard admin`."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.db import Scope
from backend.core.errors import InternalFact
from backend.identity.repository import UnscopedOperatorRepository


class NobodyOfThatName(InternalFact):
    """No account has this e-mail address."""


def grant(session: Session, email: str, *, by: str) -> bool:
    """Make this person an operator; False = is one already. Raises NobodyOfThatName."""
    user_id = _find(session, email)
    made = UnscopedOperatorRepository(session).add(user_id, by)
    if made:
        _record(session, user_id, "operator.grant", by)
    return made


def revoke(session: Session, email: str, *, by: str) -> bool:
    """This person is no operator any more, from the next request on; False = was none. Raises NobodyOfThatName."""
    user_id = _find(session, email)
    gone = UnscopedOperatorRepository(session).remove(user_id)
    if gone:
        _record(session, user_id, "operator.revoke", by)
    return gone


def list_operators(session: Session) -> Sequence[Row[UUID, str, str, datetime]]:
    """(user id, e-mail, granted by, since) of all, oldest first."""
    return UnscopedOperatorRepository(session).every()


def _find(session: Session, email: str) -> UUID:
    found = UnscopedOperatorRepository(session).user_of(email)
    if found is None:
        raise NobodyOfThatName(f"no account has the address {email}")
    return found


def _record(session: Session, user_id: UUID, action: str, by: str) -> None:
    """In the audit of every organization that the person is a member of."""
    for organization_id in UnscopedOperatorRepository(session).organizations_of(user_id):
        audit.record(
            session,
            by,
            Scope(organization_id),
            action=action,
            resource_kind="user",
            resource_id=user_id,
            detail={},
        )
