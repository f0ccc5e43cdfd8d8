"""Idempotency keys: the first answer to a mutating call is kept and given again for a day.

A client that lost an answer sends the same request with the same `Idempotency-Key` header and gets the first
answer, marked `Idempotency-Replayed: true`. It works for POST, PATCH and DELETE under /api/v1 with a credential;
PUT needs none (it puts the same thing in the same place).

How: the middleware opens the unit of work, and the route's `Transaction` dependency uses it instead of one of
its own. In it the middleware takes a lock on (organization, principal, key), looks for a kept answer, lets the
route run inside a savepoint, and keeps the answer. Work and answer are one commit: both or neither.

    answer 2xx, 3xx       the work and the answer are committed
    answer 4xx            the work is undone, the answer is committed
    answer 429, 5xx       nothing is: trying again is meant to help
    lock not free         409 idempotency_in_progress
    another request       422 idempotency_key_reused

A route that opens units of work of its own (because it talks to object storage between them) commits those
itself; only a crash after them and before the last commit can lose the kept answer then.

Kept bodies may hold a secret told once, such as a new key's token, and are encrypted under the organization's key.
"""

import asyncio
import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import Index, Integer, LargeBinary, UniqueConstraint, delete, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from backend.core.auth import Principal
from backend.core.db import Base, Database, Identified, Scope, TenantOwned
from backend.core.errors import Conflict, DomainError, Invalid
from backend.core.http import outside_fact, problem_of
from backend.core.ids import new_id

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
METHODS = frozenset({"POST", "PATCH", "DELETE"})
KEPT_FOR = timedelta(days=1)
_LONGEST_KEY = 255


class IdempotencyRecord(Identified, TenantOwned, Base):
    """The kept answer to one key of one principal. `body` is encrypted; None = there was none."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        UniqueConstraint("organization_id", "principal", "key"),
        Index("ix_idempotency_keys_created_at", "created_at"),
    )

    principal: Mapped[str]
    key: Mapped[str]
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None] = mapped_column(Integer)
    content_type: Mapped[str | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class InvalidIdempotencyKey(Invalid):
    """The header is no key."""

    code = "invalid_idempotency_key"


class IdempotencyKeyReused(Invalid):
    """The key belongs to another request."""

    code = "idempotency_key_reused"
    title = "Idempotency key reused"


class IdempotencyInProgress(Conflict):
    """The first request with this key is still being carried out."""

    code = "idempotency_in_progress"
    title = "Still in progress"


class TenantVault(Protocol):
    """Encryption under an organization's key (`identity.vault`)."""

    def encrypt(self, session: Session, scope: Scope, plaintext: bytes, *, purpose: str) -> bytes:
        """The ciphertext."""

    def decrypt(self, session: Session, scope: Scope, ciphertext: bytes, *, purpose: str) -> bytes:
        """The plaintext."""


@dataclass(frozen=True)
class Answer:
    """What is kept of a response."""

    status: int
    content_type: str | None
    body: bytes


def purge_expired(session: Session, *, limit: int) -> int:
    """Delete up to `limit` kept answers that are over, of all organizations (role *controller*); how many."""
    over = (
        select(IdempotencyRecord.id)
        .where(IdempotencyRecord.created_at < func.clock_timestamp() - KEPT_FOR)
        .order_by(IdempotencyRecord.created_at)
        .limit(limit)
    )
    gone = session.execute(
        delete(IdempotencyRecord)
        .where(IdempotencyRecord.id.in_(over.scalar_subquery()))
        .returning(IdempotencyRecord.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


class KeyedWork:
    """One request under a key: `begin`, then `keep` or `drop`. Each blocks on the database."""

    def __init__(
        self, database: Database, vault: TenantVault, principal: Principal, key: str, request_hash: bytes
    ) -> None:
        self._vault = vault
        self._principal = principal
        self._key = key
        self._request_hash = request_hash
        self._unit: AbstractContextManager[Session] = database.unit_of_work(principal.scope)
        self._savepoint: SessionTransaction | None = None
        self.session: Session | None = None

    def begin(self) -> Answer | None:
        """Take the lock; the kept answer, if any. Raises IdempotencyInProgress, IdempotencyKeyReused."""
        self.session = self._unit.__enter__()
        try:
            self._lock(self.session)
            kept = self._find(self.session)
            self._savepoint = self.session.begin_nested()
        except BaseException as error:
            self.drop(error)
            raise
        return kept

    def keep(self, answer: Answer) -> None:
        """Commit the answer, with the work unless the answer is an error."""
        assert self.session is not None  # noqa: S101 - begin() came first
        assert self._savepoint is not None  # noqa: S101 - begin() came first
        try:
            if answer.status >= HTTPStatus.BAD_REQUEST:
                self._savepoint.rollback()
                self.session.info.pop("doorbells", None)
            else:
                self._savepoint.commit()
            self._add(self.session, answer)
        except BaseException as error:
            self.drop(error)
            raise
        self._unit.__exit__(None, None, None)

    def drop(self, error: BaseException | None = None) -> None:
        """Undo everything and let the lock go."""
        cause = error or _Undone()
        self._unit.__exit__(type(cause), cause, cause.__traceback__)

    def _lock(self, session: Session) -> None:
        name = f"idempotency:{self._principal.organization_id}:{self._principal.actor}:{self._key}"
        if not session.scalar(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))):
            raise IdempotencyInProgress("the first request with this Idempotency-Key is still being carried out")

    def _find(self, session: Session) -> Answer | None:
        mine = (
            IdempotencyRecord.organization_id == self._principal.organization_id,
            IdempotencyRecord.principal == self._principal.actor,
            IdempotencyRecord.key == self._key,
        )
        session.execute(
            delete(IdempotencyRecord)
            .where(*mine, IdempotencyRecord.created_at < func.clock_timestamp() - KEPT_FOR)
            .execution_options(synchronize_session=False)
        )
        row = session.scalars(select(IdempotencyRecord).where(*mine)).one_or_none()
        if row is None or row.status is None:
            return None
        if row.request_hash != self._request_hash:
            raise IdempotencyKeyReused(
                "this Idempotency-Key belongs to another request", hint="use a new key for each new request"
            )
        body = b""
        if row.body is not None:
            body = self._vault.decrypt(session, self._principal.scope, row.body, purpose=_purpose(row.id))
        return Answer(row.status, row.content_type, body)

    def _add(self, session: Session, answer: Answer) -> None:
        record_id = new_id()
        body = None
        if answer.body:
            body = self._vault.encrypt(session, self._principal.scope, answer.body, purpose=_purpose(record_id))
        session.add(
            IdempotencyRecord(
                id=record_id,
                organization_id=self._principal.organization_id,
                principal=self._principal.actor,
                key=self._key,
                request_hash=self._request_hash,
                status=answer.status,
                content_type=answer.content_type,
                body=body,
            )
        )
        session.flush()


class Idempotency:
    """ASGI middleware over `KeyedWork`. At most `at_once` keyed requests run together.

    A keyed request holds one connection throughout, and its route may need another: half the pool stays free.
    """

    def __init__(self, app: ASGIApp, *, vault: TenantVault, at_once: int) -> None:
        self._app = app
        self._vault = vault
        self._at_once = at_once
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] not in METHODS or not scope["path"].startswith("/api/v1/"):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        key = request.headers.get(HEADER)
        if key is None:
            await self._app(scope, receive, send)
            return
        answer: Response
        try:
            principal = await _principal(request)
            if principal is None:
                # The route says it better, and some routes need no credential.
                await self._app(scope, receive, send)
                return
            answer = await self._answer(request, principal, key)
        except ClientDisconnect:
            return  # while its body was read: nothing has begun, nobody listens
        except DomainError as error:
            answer = problem_of(error)
        except (OperationalError, PoolTimeout, OSError) as error:
            fact = outside_fact(error)
            if fact is None:
                raise
            answer = problem_of(fact)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, principal: Principal, key: str) -> Response:
        if not 1 <= len(key) <= _LONGEST_KEY or not (key.isascii() and key.isprintable()):
            raise InvalidIdempotencyKey("an Idempotency-Key has 1 to 255 printable ASCII characters")
        body = await request.body()
        gate = self._gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._at_once))
        async with gate:
            work = KeyedWork(request.app.state.database, self._vault, principal, key, _hash(request, body))
            kept = await run_in_threadpool(work.begin)
            if kept is not None:
                await run_in_threadpool(work.drop)
                return _response(kept, replayed=True)
            request.state.idempotent_session = work.session
            try:
                response = await _run(self._app, request, body)
            except BaseException as error:
                await run_in_threadpool(work.drop, error)
                raise
            return await _settle(work, response)


class _Undone(Exception):
    """Leaves a unit of work without a commit."""


@dataclass
class _Captured:
    status: int = 500
    headers: list[tuple[bytes, bytes]] | None = None
    body: bytes = b""

    def response(self) -> Response:
        answer = Response(self.body, self.status)
        answer.raw_headers = list(self.headers or [])
        return answer


async def _principal(request: Request) -> Principal | None:
    try:
        principal: Principal = await run_in_threadpool(request.app.state.authenticate, request)
    except DomainError:
        return None
    request.state.principal = principal
    return principal


async def _run(app: ASGIApp, request: Request, body: bytes) -> _Captured:
    """Let the route answer, with the body already read; its answer is held back."""
    captured = _Captured()
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await request.receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            captured.status = message["status"]
            captured.headers = list(message["headers"])
        elif message["type"] == "http.response.body":
            captured.body += message.get("body", b"")

    await app(request.scope, receive, send)
    return captured


async def _settle(work: KeyedWork, captured: _Captured) -> Response:
    response = captured.response()
    final = captured.status < HTTPStatus.INTERNAL_SERVER_ERROR and captured.status != HTTPStatus.TOO_MANY_REQUESTS
    if not final:
        await run_in_threadpool(work.drop)
        return response
    answer = Answer(captured.status, response.headers.get("content-type"), captured.body)
    await run_in_threadpool(work.keep, answer)
    return response


def _response(answer: Answer, *, replayed: bool) -> Response:
    headers = {REPLAYED: "true"} if replayed else {}
    if answer.content_type is not None:
        headers["content-type"] = answer.content_type
    return Response(answer.body, answer.status, headers=headers)


def _hash(request: Request, body: bytes) -> bytes:
    head = f"{request.method}\n{request.url.path}\n{request.url.query}\n"
    return hashlib.sha256(head.encode("utf-8", "surrogatepass") + body).digest()


def _purpose(record_id: UUID) -> str:
    return f"idempotency_keys.body:{record_id}"
