"""What a route or a dependency declares that it may answer instead of its result.

A route says it with `responses=raises(ProjectNameTaken)`, a dependency with `@may_raise(Unauthorized)`. What every
route shares (a body that is not valid, a database that is down) follows from its shape: `core.openapi`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from backend.core.errors import DomainError

CODES = "x-codes"
"""Key of a response in the OpenAPI document: the error codes that come with its status."""

Dependency = TypeVar("Dependency", bound=Callable[..., Any])
_RAISED: dict[Callable[..., Any], tuple[type[DomainError], ...]] = {}


def raises(*errors: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: by status, the codes and what they mean."""
    by_status: dict[int | str, list[type[DomainError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {status: described(kinds) for status, kinds in by_status.items()}


def described(errors: list[type[DomainError]]) -> dict[str, Any]:
    """One error response of the OpenAPI document."""
    known = {error.code: error for error in errors}
    return {
        "description": "; ".join(f"`{code}`: {error.title}" for code, error in sorted(known.items())),
        CODES: sorted(known),
    }


def may_raise(*errors: type[DomainError]) -> Callable[[Dependency], Dependency]:
    """Says of a dependency which errors it raises."""

    def note(dependency: Dependency) -> Dependency:
        _RAISED[dependency] = errors
        return dependency

    return note


def raised_by(dependency: Callable[..., Any] | None) -> tuple[type[DomainError], ...]:
    """What a dependency said that it raises."""
    return _RAISED.get(dependency, ()) if dependency is not None else ()
