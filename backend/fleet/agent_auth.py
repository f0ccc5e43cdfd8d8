"""Who an agent is: the instance whose token it presents. Found by a SECURITY DEFINER function only (★9)."""

import hashlib
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import text

from backend.core.db import Database, Scope
from backend.core.problems import may_raise
from backend.fleet.errors import InstanceTokenUnknown


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
    """The living instance behind the bearer token. Raises InstanceTokenUnknown."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise InstanceTokenUnknown("an instance token is required")
    digest = hashlib.sha256(token.strip().encode()).digest()
    database: Database = request.app.state.database
    with database.unit_of_work() as session:
        row = session.execute(
            text("SELECT instance_id, organization_id FROM auth_instance(:presented)"), {"presented": digest}
        ).one_or_none()
    if row is None:
        raise InstanceTokenUnknown("this instance token belongs to no living instance")
    return AgentIdentity(row.instance_id, row.organization_id)


AgentCaller = Annotated[AgentIdentity, Depends(agent_caller)]
