"""The OpenAPI document: FastAPI's own, plus what only this platform knows of each route.

Every route's error responses, as problem documents with their codes: those the route declares (`core.problems`), those
its dependencies raise, and those that follow from its shape. And which credential it takes (`security`) and which
permission that must have (`x-permission`), read from its dependencies: what is declared is what is enforced.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from backend.core.errors import (
    ConflictingChange,
    CrossSiteRequest,
    DomainError,
    Forbidden,
    InternalError,
    InvalidRequest,
    InvalidValue,
    NoSpace,
    TooLarge,
    Unavailable,
)
from backend.core.http import PROBLEM_TYPE, Allowed, caller
from backend.core.idempotency import (
    METHODS,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
)
from backend.core.problems import CODES, described, raised_by

PERMISSION = "x-permission"
PUBLIC = "/api/v1/"
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}, {"session": []}]
_SECURITY_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "an API key"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "modelyard_session",
        "description": "of POST /api/v1/session; changes need an X-Requested-With header as well",
    },
}
_PROBLEM = {
    "title": "Problem",
    "description": "RFC 9457. `code` is stable, `hint` is the way out; some codes carry more fields.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "hint": {"type": "string"},
    },
}


def api_routes(routers: Sequence[APIRouter]) -> Iterator[APIRoute]:
    """Every route of the routers, those that the document leaves out too."""
    for router in routers:
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def _dependants(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _dependants(each)


def permission_of(route: APIRoute) -> str | None:
    """What the caller needs: a permission, 'any' credential, or None: no credential."""
    calls = [each.call for each in _dependants(route.dependant)]
    needed = [call.permission for call in calls if isinstance(call, Allowed)]
    return needed[0] if needed else "any" if caller in calls else None


def declared(route: APIRoute) -> dict[int, dict[str, Any]]:
    """Every error response of a route, by status."""
    codes = {code for response in route.responses.values() for code in response.get(CODES, ())}
    codes |= {error.code for error in _errors(route)}
    by_status: dict[int, list[type[DomainError]]] = {}
    for error in all_errors():
        if error.code in codes:
            by_status.setdefault(error.status, []).append(error)
    return {status: described(errors) for status, errors in sorted(by_status.items())}


def all_errors(kind: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    """Every class below `kind` that has a code and is imported."""
    for child in kind.__subclasses__():
        if "code" in vars(child):
            yield child
        yield from all_errors(child)


def _errors(route: APIRoute) -> Iterator[type[DomainError]]:
    yield from (InternalError, Unavailable)
    dependants = list(_dependants(route.dependant))
    for each in dependants:
        yield from raised_by(each.call)
    has_body = route.body_field is not None or "requestBody" in (route.openapi_extra or {})
    if has_body:
        yield TooLarge
    if has_body or any(each.path_params or each.query_params or each.header_params for each in dependants):
        yield from (InvalidRequest, InvalidValue)
    permission = permission_of(route)
    if permission not in {None, "any"}:
        yield Forbidden
    methods = route.methods or set()
    if not methods & _CHANGING:
        return
    yield from (ConflictingChange, NoSpace)
    if permission is not None:
        yield CrossSiteRequest
        if methods & METHODS and route.path.startswith(PUBLIC):
            yield from (InvalidIdempotencyKey, IdempotencyKeyReused, IdempotencyInProgress)


def document_of(
    title: str, version: str, routes: Sequence[APIRoute], examples: Callable[[str], dict[str, Any] | None] | None = None
) -> dict[str, Any]:
    """The document of these routes. `examples` says those of an operation, such as `POST /api/v1/projects`."""
    document = get_openapi(title=title, version=version, routes=routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for replaced in ("HTTPValidationError", "ValidationError"):
        schemas.pop(replaced, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = _SECURITY_SCHEMES
    for route in routes:
        if not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            _complete(operation, route)
            told = examples(f"{method} {route.path_format}") if examples is not None else None
            if told is not None:
                operation["requestBody"]["content"]["application/json"]["examples"] = told
    return document


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    permission = permission_of(route)
    operation[PERMISSION] = permission
    if permission is not None:
        operation["security"] = _SECURITY
    for status, response in declared(route).items():
        operation["responses"][str(status)] = response | {
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        }


def install_document(
    app: FastAPI, routers: Sequence[APIRouter], examples: Callable[[str], dict[str, Any] | None]
) -> None:
    """Serve this document as the app's own."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(document_of(app.title, app.version, list(api_routes(routers)), examples))
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
