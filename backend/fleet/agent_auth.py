"""Who an agent is: the instance whose token it presents. Found by a SECURITY DEFINER function only (★9)."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import text
from sqlalchemy.orm import Session

from backend.core.db import TENANT_SETTING, Database, Scope
from backend.core.problems import may_raise
from backend.fleet.errors import InstanceTokenUnknown

# One round trip: whose the token is, and row-level security sees that tenant (as `core.db.set_tenant` does).
_FIND = (
    "SELECT found.instance_id, found.organization_id,"  # noqa: S608 - a constant
    f" set_config('{TENANT_SETTING}', found.organization_id::text, true) FROM auth_instance(:presented) AS found"
)


@dataclass(frozen=True)
class AgentIdentity:
    """The instance an agent serves, and its organization."""

    instance_id: UUID
    organization_id: UUID

    @property
    def scope(self) -> Scope:
        """Whose rows this agent may touch."""
        return Scope(self.organization_id)


@may_raise(InstanceTokenUnknown)
def agent_caller(request: Request) -> AgentIdentity:
    """The living instance behind the bearer token, found in a transaction of its own. Raises InstanceTokenUnknown."""
    with request.app.state.database.unit_of_work() as session:
        return _identify(session, request)


AgentCaller = Annotated[AgentIdentity, Depends(agent_caller)]


@contextmanager
def agent_unit_of_work(request: Request) -> Iterator[tuple[Session, AgentIdentity]]:
    """One transaction in the tenant of the living instance behind the bearer token. Raises InstanceTokenUnknown."""
    database: Database = request.app.state.database
    with database.unit_of_work() as session:
        yield session, _identify(session, request)


def _identify(session: Session, request: Request) -> AgentIdentity:
    """Whose token it is; the session then sees the tenant's rows."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise InstanceTokenUnknown("an instance token is required")
    digest = hashlib.sha256(token.strip().encode()).digest()
    row = session.execute(text(_FIND), {"presented": digest}).one_or_none()
    if row is None:
        raise InstanceTokenUnknown("this instance token belongs to no living instance")
    return AgentIdentity(row.instance_id, row.organization_id)
