"""Who is calling: a principal and what its role may do. Credentials are looked up in `identity`."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from backend.core.db import Scope
from backend.core.errors import Forbidden

Role = Literal["owner", "admin", "developer", "viewer", "billing"]
Permission = Literal["read", "write", "invoke", "manage", "billing"]
"""`invoke`: ask endpoints for inference, which costs money. Gateways know only the keys that may."""
Need = Permission | Literal["operator"]
"""What a route may ask for. `operator`: to run the platform itself, which no role gives and no API key has."""

PERMISSIONS: dict[str, frozenset[str]] = {
    "owner": frozenset({"read", "write", "invoke", "manage", "billing"}),
    "admin": frozenset({"read", "write", "invoke", "manage", "billing"}),
    "developer": frozenset({"read", "write", "invoke"}),
    "viewer": frozenset({"read"}),
    "billing": frozenset({"read", "billing"}),
}


def permissions_of(role: str, scopes: Collection[str] = ()) -> frozenset[str]:
    """What a role may do, narrowed by scopes; none = all its role allows."""
    permissions = PERMISSIONS.get(role, frozenset())
    return permissions & frozenset(scopes) if scopes else permissions


@dataclass(frozen=True)
class Principal:
    """An authenticated caller: a user with a session, or an API key."""

    kind: Literal["user", "api_key"]
    id: UUID
    name: str
    organization_id: UUID
    account_id: str
    role: str
    scopes: frozenset[str] = frozenset()
    """An API key's scopes narrow its role; empty = all its role allows."""
    operator: bool = False
    """Runs the platform itself: may see the admin console. Asked anew with each request; never an API key."""

    @property
    def scope(self) -> Scope:
        """Whose rows this caller sees."""
        return Scope(self.organization_id)

    @property
    def actor(self) -> str:
        """How events and the audit name this caller."""
        return f"{self.kind}:{self.id}"

    @property
    def operating(self) -> str:
        """How the audit names this caller where it acts as an operator."""
        return f"operator:{self.id}"

    def allows(self, permission: Need) -> bool:
        """Whether role and scopes allow it; for `operator`, whether the caller is one."""
        return self.operator if permission == "operator" else permission in permissions_of(self.role, self.scopes)

    def require(self, permission: Need) -> None:
        """Raises Forbidden (403) unless role and scopes allow it."""
        if permission == "operator" and not self.operator:
            raise Forbidden(
                "this is for operators of the platform, with the session of their log-in; no API key is one",
                hint="`modelyard admin operators add` on the platform's machine makes an operator",
            )
        if not self.allows(permission):
            raise Forbidden(
                f"this needs the permission '{permission}', which the role '{self.role}' of this credential lacks"
            )
