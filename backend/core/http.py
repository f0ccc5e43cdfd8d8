"""What every REST route shares: the caller, the transaction, problem documents (RFC 9457).

The composition root (`backend.app`) puts on `app.state`: `database` (the app role), `authenticate`
(request → Principal, raises Unauthorized), `storage`, `settings`.
"""

import errno
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.responses import Response

from backend.core.auth import Permission, Principal
from backend.core.errors import DomainError, NoSpace, Unavailable

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"
DISK_FULL = "53100"
"""Postgres's SQLSTATE."""


def caller(request: Request) -> Principal:
    """The authenticated principal of this request. Raises Unauthorized."""
    known: Principal | None = getattr(request.state, "principal", None)
    if known is not None:
        return known
    authenticate: Callable[[Request], Principal] = request.app.state.authenticate
    principal = authenticate(request)
    request.state.principal = principal
    return principal


Caller = Annotated[Principal, Depends(caller)]


def allowed(permission: Permission) -> Callable[[Principal], Principal]:
    """A dependency: the caller, if it has the permission. Raises Forbidden."""

    def check(principal: Caller) -> Principal:
        principal.require(permission)
        return principal

    return check


Reader = Annotated[Principal, Depends(allowed("read"))]
Writer = Annotated[Principal, Depends(allowed("write"))]
Manager = Annotated[Principal, Depends(allowed("manage"))]
BillingReader = Annotated[Principal, Depends(allowed("billing"))]


def transaction(request: Request, principal: Caller) -> Iterator[Session]:
    """One transaction in the caller's tenant; committed before the answer leaves.

    Under an Idempotency-Key it is the transaction that also keeps the answer (`core.idempotency`).
    """
    shared: Session | None = getattr(request.state, "idempotent_session", None)
    if shared is not None:
        yield shared
        return
    with request.app.state.database.unit_of_work(principal.scope) as session:
        yield session


# scope="function": a failed commit must not follow a 2xx that has already been sent.
Transaction = Annotated[Session, Depends(transaction, scope="function")]


class Problem(Response):
    """JSON in ASCII: what a caller sent may be quoted in it, lone surrogates included."""

    media_type = PROBLEM_TYPE

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - JSON values
        """The document's bytes."""
        return json.dumps(content, default=str, separators=(",", ":")).encode()


def problem(status: int, code: str, title: str, detail: str, **extra: Any) -> Problem:  # noqa: ANN401 - JSON values
    """An RFC 9457 problem document with a stable `code`. `retry_after_seconds` becomes a header as well."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    body.update({key: value for key, value in extra.items() if value is not None})
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after_seconds" in body:
        headers["Retry-After"] = str(body["retry_after_seconds"])
    return Problem(body, status_code=status, headers=headers)


def problem_of(error: DomainError) -> Problem:
    """A domain error as a problem document."""
    return problem(error.status, error.code, error.title, error.detail, hint=error.hint, **error.extra)


def install_problem_handlers(app: FastAPI) -> None:
    """Turn every error into a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(DataError, _on_data_error)
    app.add_exception_handler(UnicodeEncodeError, _on_data_error)
    app.add_exception_handler(IntegrityError, _on_integrity_error)
    app.add_exception_handler(OperationalError, _on_outside)
    app.add_exception_handler(PoolTimeout, _on_outside)
    app.add_exception_handler(OSError, _on_outside)
    app.add_exception_handler(Exception, _on_unexpected)


def _on_domain_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)  # noqa: S101 - Starlette dispatches by type
    return problem_of(error)


def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - Starlette dispatches by type
    errors = [{"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]} for item in error.errors()]
    first = f"{errors[0]['field']}: {errors[0]['message']}" if errors else "the request is not valid"
    return problem(422, "invalid_request", "The request is not valid", first, errors=errors)


def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by type
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    detail = str(error.detail)
    if error.status_code == HTTPStatus.BAD_REQUEST and error.__cause__ is not None:
        # FastAPI's answer to a body that breaks its parser: another encoding, endless digits or nesting.
        return problem(422, "invalid_request", "The request is not valid", "the body cannot be read as JSON")
    answer = problem(error.status_code, codes.get(error.status_code, "http_error"), detail, detail)
    answer.headers.update(error.headers or {})
    return answer


def _on_data_error(request: Request, error: Exception) -> Response:
    """The database cannot hold a value: a NUL character, a number beyond its type, NaN in JSON."""
    log.info("value_refused_by_database", path=request.url.path, method=request.method, error=str(error)[:200])
    return problem(
        422,
        "invalid_value",
        "The request is not valid",
        "a value cannot be stored: a NUL character, a number out of range, or text that is not Unicode",
    )


def _on_integrity_error(request: Request, error: Exception) -> Response:
    """Somebody else was faster, and the service did not foresee it: still a fact about the request."""
    log.warning("conflict_in_database", path=request.url.path, method=request.method, error=str(error)[:500])
    return problem(
        409, "conflicting_change", "Conflict", "this conflicts with what is stored now; read it again and retry"
    )


def outside_fact(error: Exception) -> DomainError | None:
    """What a failure of the database or of this host's disk means to a caller; None = nothing that is foreseen."""
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return NoSpace("the server has no room left; nothing was changed", retry_after_seconds=5) if full else None
    if getattr(getattr(error, "orig", None), "sqlstate", None) == DISK_FULL:
        return NoSpace("the database has no room left; nothing was changed", retry_after_seconds=5)
    if isinstance(error, OperationalError | PoolTimeout):
        return Unavailable("the database did not answer in time; nothing was changed", retry_after_seconds=2)
    return None


def _on_outside(request: Request, error: Exception) -> Response:
    fact = outside_fact(error)
    if fact is None:
        raise error
    log.error("outside_failed", code=fact.code, path=request.url.path, method=request.method, error=str(error)[:500])
    return problem_of(fact)


def _on_unexpected(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, method=request.method, exc_info=error)
    return problem(500, "internal_error", "Internal error", "an unexpected error was logged; nothing was changed")
