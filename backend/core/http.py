"""What every REST route shares: the caller, the transaction, problem documents (RFC 9457).

The composition root (`backend.app`) puts on `app.state`: `database` (the app role), `authenticate`
(request → Principal, raises Unauthorized), `storage`, `settings`.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from backend.core.auth import Permission, Principal
from backend.core.errors import DomainError

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"


def caller(request: Request) -> Principal:
    """The authenticated principal of this request. Raises Unauthorized."""
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
    """One transaction in the caller's tenant; committed before the answer leaves."""
    with request.app.state.database.unit_of_work(principal.scope) as session:
        yield session


# scope="function": a failed commit must not follow a 2xx that has already been sent.
Transaction = Annotated[Session, Depends(transaction, scope="function")]


def problem(status: int, code: str, title: str, detail: str, **extra: Any) -> JSONResponse:  # noqa: ANN401 - JSON values
    """An RFC 9457 problem document with a stable `code`."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    body.update({key: value for key, value in extra.items() if value is not None})
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None  # noqa: PLR2004 - the HTTP status
    return JSONResponse(body, status_code=status, media_type=PROBLEM_TYPE, headers=headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Turn every error into a problem document."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)


def _on_domain_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError)  # noqa: S101 - Starlette dispatches by type
    return problem(error.status, error.code, error.title, error.detail, hint=error.hint, **error.extra)


def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - Starlette dispatches by type
    errors = [{"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]} for item in error.errors()]
    first = f"{errors[0]['field']}: {errors[0]['message']}" if errors else "the request is not valid"
    return problem(422, "invalid_request", "The request is not valid", first, errors=errors)


def _on_http_exception(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by type
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    detail = str(error.detail)
    return problem(error.status_code, codes.get(error.status_code, "http_error"), detail, detail)


def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", path=request.url.path, method=request.method, exc_info=error)
    return problem(500, "internal_error", "Internal error", "an unexpected error was logged; nothing was changed")
