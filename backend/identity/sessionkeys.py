"""A session's own key to endpoints: what the dashboard calls them with, for the person who is logged in.

Gateways know API keys alone, and every call is metered to one. So a session that calls an endpoint gets a key: of the
person's role, narrowed to `invoke`, working for half an hour or until the session is over, whichever is sooner. Its
token is written down nowhere. It is HMAC-SHA256(the platform's secret, key id + the session's token), so it takes both
the server and the browser's cookie to make it again; the browser never sees it. See decision 16.
"""

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.crypto import hash_token
from backend.core.db import Scope, ring_after_commit
from backend.core.errors import Unauthorized
from backend.core.ids import new_id
from backend.identity.keys import ROUTES_CHANGED, OfSession, make_key
from backend.identity.models import LoginSession
from backend.identity.repository import ApiKeyRepository, MemberRepository
from backend.identity.security import Security

LIFETIME: Final = timedelta(minutes=30)
RENEWED_BEFORE: Final = timedelta(minutes=5)
SCOPES: Final = ("invoke",)


@dataclass(frozen=True)
class SessionKey:
    """A bearer token for gateways; they know one that was made just now in a second or two."""

    token: str
    key_id: UUID


def open_session_key(session: Session, security: Security, principal: Principal, token: str) -> SessionKey:
    """The key of the session with this token, made where it has none that works for another five minutes.

    Raises Forbidden where the person may not invoke, Unauthorized where the session is another's.
    """
    principal.require("invoke")
    mine = MemberRepository(session, principal.scope).find_session(hash_token(token))
    if mine is None or mine.user_id != principal.id:
        raise Unauthorized("this session is unknown or over", hint="log in again")
    now = database_now(session)
    known = ApiKeyRepository(session, principal.scope).key_of_session(mine.id)
    lasts = min(now + RENEWED_BEFORE, mine.expires_at - timedelta(seconds=1))
    if known is None or known.role != principal.role or known.expires_at is None or known.expires_at <= lasts:
        return _make(session, security, principal, mine, token, min(now + LIFETIME, mine.expires_at))
    return SessionKey(_token(security, known.id, token), known.id)


def _make(
    session: Session, security: Security, principal: Principal, mine: LoginSession, token: str, until: datetime
) -> SessionKey:
    key_id = new_id()
    made = make_key(
        session,
        security.vault,
        principal.scope,
        name="playground",
        role=principal.role,
        scopes=SCOPES,
        created_by=principal.id,
        expires_at=until,
        tags={},
        of_session=OfSession(mine.id, key_id, _token(security, key_id, token)),
    )
    audit.record(
        session,
        principal,
        principal.scope,
        action="session_key.create",
        resource_kind="api_key",
        resource_id=key_id,
        detail={"access_key_id": made.key.access_key_id},
    )
    return SessionKey(made.token, key_id)


def _token(security: Security, key_id: UUID, token: str) -> str:
    digest = hmac.digest(security.session_key_secret, key_id.bytes + token.encode(), "sha256")
    return f"myp_{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def end_sessions(
    session: Session, scope: Scope, user_id: UUID, *, only: bytes | None = None, but: bytes | None = None
) -> None:
    """End a user's sessions here with their keys: all, `only` the one with this hash, or all `but` it."""
    MemberRepository(session, scope).revoke_sessions(user_id, only=only, but=but)
    if ApiKeyRepository(session, scope).revoke_keys_of_ended_sessions(user_id):
        ring_after_commit(session, ROUTES_CHANGED)
