"""What each credential may expect of each operation, derived from what the operation declares: its permission.

Nothing here names a route. `x-permission` in the document is read from the very dependency that enforces it
(`backend.core.openapi`), so a route without one shows up as public, and public routes are named in the test.
"""

from dataclasses import dataclass
from typing import Any, Literal

from backend.core.auth import PERMISSIONS, permissions_of
from tests.security.estate import MUTATING, Operation

Expected = Literal["unauthorized", "forbidden", "cross_site_request", "not found", "allowed", "own only", "public"]

NOBODIES = ("none", "garbage", "expired", "revoked", "agent", "gateway")
"""Credentials that are none in the public API."""
ROLES = tuple(PERMISSIONS)
NARROWED = {f"owner without {scope}": sorted(PERMISSIONS["owner"] - {scope}) for scope in sorted(PERMISSIONS["owner"])}
"""Keys of an owner that have every scope but one."""
CREDENTIALS = (*NOBODIES, "cookie alone", "stranger", *ROLES, *NARROWED)


@dataclass(frozen=True)
class Cell:
    """One operation as one credential."""

    operation: Operation
    credential: str
    expected: Expected


def expected(operation: Operation, credential: str) -> Expected:
    """What the declared permission means for a credential."""
    permission = operation.permission
    if permission is None:
        return "public"
    if credential in NOBODIES:
        return "unauthorized"
    if credential == "cookie alone" and operation.method in MUTATING:
        return "cross_site_request"
    if credential == "stranger" and permission != "operator":
        return "not found" if operation.resources else "own only"
    return "allowed" if permission in {"any", *_held(credential)} else "forbidden"


def _held(credential: str) -> frozenset[str]:
    """Permissions of a credential: `operator` is in no role. The cookie is an owner's, and so is the stranger."""
    if credential in NARROWED:
        return permissions_of("owner", NARROWED[credential])
    return PERMISSIONS.get(credential, PERMISSIONS["owner"])


def cells(operations: list[Operation], credential: str) -> list[Cell]:
    """One column."""
    return [Cell(each, credential, expected(each, credential)) for each in operations]


def kept(cell: Cell, answer: Any) -> bool:
    """Whether an answer is the expected one."""
    code = answer.json().get("code", "") if answer.status_code >= 400 else ""
    if answer.status_code >= 500:
        return False
    if cell.expected == "not found":
        return bool(answer.status_code == 404)
    if cell.expected in {"allowed", "own only", "public"}:
        return code not in {"unauthorized", "forbidden", "cross_site_request"}
    return bool(code == cell.expected)
