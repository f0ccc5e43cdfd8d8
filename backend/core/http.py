"""What every REST route shares: the caller, the transaction, problem documents (RFC 9457).

The composition root (`backend.app`) puts on `app.state`: `database` (the app role), `authenticate`
(`identity.authentication.Authenticator`), `storage`, `settings`.
"""

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.responses import Response

from backend.core.auth import Need, Principal
from backend.core.db import Database
from backend.core.errors import (
    ConflictingChange,
    DomainError,
    InternalError,
    InvalidRequest,
    InvalidValue,
    MethodNotAllowed,
    NoSpace,
    RequestRateExceeded,
    RouteNotFound,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
)
from backend.core.problems import may_raise
from backend.core.storage import CHUNK_BYTES

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"
DISK_FULL = "53100"
"""Postgres's SQLSTATE."""


@may_raise(Unauthorized, RequestRateExceeded)
async def caller(request: Request) -> AsyncIterator[Principal]:
    """A dependency: the authenticated principal of this request. Raises Unauthorized, RequestRateExceeded.

    Where the route takes a `Transaction`, the credential is looked up in that same transaction: one connection, and
    one statement says whose it is and makes row-level security see the tenant.
    """
    state = request.state
    known: Principal | None = getattr(state, "principal", None)
    if known is None and not _takes_transaction(request.scope.get("route")):
        known = state.principal = await run_in_threadpool(request.app.state.authenticate, request)
    if known is not None:
        await _count(request, known)
        yield known
        return
    # A connection is held while its request waits for a thread, so no thread may wait for a connection: the gate is
    # passed first, and what opens units of work of its own finds the pool's other half.
    async with _gate(request.app.state.database), contextmanager_in_threadpool(_unit_of(request)) as session:
        state.session = session
        await _count(request, state.principal)
        yield state.principal


async def _count(request: Request, principal: Principal) -> None:
    """Count the request against the credential's rate. Raises RequestRateExceeded."""
    rates = request.app.state.rates
    limit = rates.known_limit(principal)
    if limit is None:
        limit = await run_in_threadpool(rates.learn, principal)
    request.state.allowance = rates.spend(principal, limit)


@contextmanager
def _unit_of(request: Request) -> Iterator[Session]:
    """The request's unit of work, in the tenant of its credential."""
    authenticate = request.app.state.authenticate
    try:
        with request.app.state.database.unit_of_work() as session:
            request.state.principal = authenticate(request, session)
            yield session
    finally:
        authenticate.note_use(request)


_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_takers: WeakKeyDictionary[Callable[..., object], bool] = WeakKeyDictionary()


def _gate(database: Database) -> asyncio.Semaphore:
    """As many requests as half of the pool's connections."""
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(database.pool_size))


def _takes_transaction(route: object) -> bool:
    """Whether a route, or anything it depends on, takes a `Transaction`."""
    if not isinstance(route, APIRoute):
        return False
    if route.endpoint not in _takers:
        _takers[route.endpoint] = _depends_on(route.dependant, transaction)
    return _takers[route.endpoint]


def _depends_on(dependant: Dependant, call: Callable[..., object]) -> bool:
    return dependant.call is call or any(_depends_on(each, call) for each in dependant.dependencies)


Caller = Annotated[Principal, Depends(caller, scope="function")]


@dataclass(frozen=True)
class Allowed:
    """A dependency: the caller, if it has the permission. Raises Forbidden. `core.openapi` reads the permission."""

    permission: Need

    async def __call__(self, principal: Caller) -> Principal:
        """The caller. Asynchronous: what never blocks needs no thread."""
        principal.require(self.permission)
        return principal


Reader = Annotated[Principal, Depends(Allowed("read"))]
Writer = Annotated[Principal, Depends(Allowed("write"))]
Manager = Annotated[Principal, Depends(Allowed("manage"))]
BillingReader = Annotated[Principal, Depends(Allowed("billing"))]
Operator = Annotated[Principal, Depends(Allowed("operator"))]


async def transaction(request: Request, _principal: Caller) -> Session:
    """One transaction in the caller's tenant; `caller` commits it before the answer leaves.

    Under an Idempotency-Key it is the transaction that also keeps the answer (`core.idempotency`).
    """
    shared: Session | None = getattr(request.state, "idempotent_session", None)
    own: Session = request.state.session if shared is None else shared
    return own


# scope="function": a failed commit must not follow a 2xx that has already been sent.
Transaction = Annotated[Session, Depends(transaction, scope="function")]


async def gathered(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about a MiB: what handles a piece takes a turn of a thread each time."""
    piece = bytearray()
    async for chunk in stream:
        piece += chunk
        if len(piece) >= CHUNK_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


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


def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)  # noqa: S101 - Starlette dispatches by type
    if isinstance(error, TooMany) and error.allowance is not None:
        request.state.allowance = error.allowance
    return problem_of(error)


def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - Starlette dispatches by type
    errors = [{"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]} for item in error.errors()]
    first = f"{errors[0]['field']}: {errors[0]['message']}" if errors else "the request is not valid"
    return problem_of(InvalidRequest(first, errors=errors))


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by type
    if error.status_code == HTTPStatus.BAD_REQUEST and error.__cause__ is not None:
        # FastAPI's answer to a body that breaks its parser: another encoding, endless digits or nesting.
        return problem_of(InvalidRequest("the body cannot be read as JSON"))
    kinds = {kind.status: kind for kind in (RouteNotFound, MethodNotAllowed, TooLarge)}
    answer = problem_of(kinds.get(error.status_code, InvalidRequest)(str(error.detail)))
    answer.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """Every method that this address takes: routers answer 405 with those of the first route that matches."""
    routes: list[APIRoute] = getattr(request.app.state, "routes", [])
    here = [route for route in routes if route.path_regex.fullmatch(request.url.path)]
    return sorted({method for route in here for method in route.methods or ()})


def _on_data_error(request: Request, error: Exception) -> Response:
    """The database cannot hold a value: a NUL character, a number beyond its type, NaN in JSON."""
    log.info("value_refused_by_database", path=request.url.path, method=request.method, error=str(error)[:200])
    return problem_of(
        InvalidValue("a value cannot be stored: a NUL character, a number out of range, or text that is not Unicode")
    )


def _on_integrity_error(request: Request, error: Exception) -> Response:
    """Somebody else was faster, and the service did not foresee it: still a fact about the request."""
    log.warning("conflict_in_database", path=request.url.path, method=request.method, error=str(error)[:500])
    return problem_of(ConflictingChange("this conflicts with what is stored now; nothing was changed"))


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
    return problem_of(InternalError("an unexpected error was logged; nothing was changed"))
