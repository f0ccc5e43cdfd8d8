"""Use cases of identity that other rooms call: log in and out, whose credential it is, who the caller is.

Members are in `members`, API keys in `keys`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal, permissions_of
from backend.core.clock import database_now
from backend.core.crypto import hash_token, new_token
from backend.core.db import Database, Scope, set_tenant
from backend.core.errors import Unauthorized
from backend.identity.authentication import authenticate_api_key, authenticate_session
from backend.identity.errors import WrongCredentials
from backend.identity.models import Organization
from backend.identity.repository import CredentialRepository, MemberRepository
from backend.identity.security import Security
from backend.identity.sessionkeys import end_sessions

__all__ = [
    "LoggedIn",
    "Myself",
    "authenticate_api_key",
    "authenticate_session",
    "change_password",
    "describe_caller",
    "log_in",
    "log_out",
]


@dataclass(frozen=True)
class LoggedIn:
    """A new session. `token` goes into the cookie and is stored nowhere."""

    token: str
    principal: Principal
    expires_at: datetime


@dataclass(frozen=True)
class Myself:
    """The caller: e-mail and full name only of a user."""

    principal: Principal
    organization: Organization
    email: str | None
    full_name: str | None
    permissions: list[str]


def log_in(
    session: Session,
    security: Security,
    *,
    email: str,
    password: str,
    address: str = "",
    organization_id: UUID | None = None,
) -> LoggedIn:
    """Start a session in `organization_id`, or in the user's oldest membership. `session` needs no tenant.

    `address`: where the attempt comes from, for counting. Raises WrongCredentials (401), TooManyAttempts (429), and
    Busy (503) before the session has taken a connection.
    """
    security.limiter.attempt(email, address)
    with security.passwords.turn():
        return _log_in(session, security, email, password, address, organization_id)


def _log_in(
    session: Session, security: Security, email: str, password: str, address: str, organization_id: UUID | None
) -> LoggedIn:
    wrong = WrongCredentials("this e-mail address and this password do not match")
    memberships = CredentialRepository(session).password(email) if "\x00" not in email else ()
    stored = memberships[0].password_hash if memberships else None
    if not security.passwords.verify(stored, password):
        raise wrong
    chosen = next((row for row in memberships if organization_id in {None, row.organization_id}), None)
    if chosen is None:
        raise wrong
    security.limiter.succeeded(email, address)
    set_tenant(session, chosen.organization_id)
    scope = Scope(chosen.organization_id)
    members = MemberRepository(session, scope)
    if security.passwords.outdated(chosen.password_hash):
        members.set_password(chosen.user_id, security.passwords.hash(password))
    token = new_token("mys")
    expires_at = database_now(session) + security.session_lifetime
    members.add_session(chosen.user_id, hash_token(token), expires_at)
    principal = authenticate_session(session, token)
    audit.record(
        session,
        principal,
        scope,
        action="session.create",
        resource_kind="user",
        resource_id=principal.id,
        detail={"address": address},
    )
    return LoggedIn(token, principal, expires_at)


def log_out(session: Session, token: str) -> None:
    """End the session of this token; one that is unknown or over is ignored. `session` needs no tenant."""
    try:
        principal = authenticate_session(session, token)
    except Unauthorized:
        return
    set_tenant(session, principal.organization_id)
    end_sessions(session, principal.scope, principal.id, only=hash_token(token))
    audit.record(
        session,
        principal,
        principal.scope,
        action="session.revoke",
        resource_kind="user",
        resource_id=principal.id,
        detail={},
    )


def describe_caller(session: Session, principal: Principal) -> Myself:
    """Who the caller is, where, and what it may do."""
    members = MemberRepository(session, principal.scope)
    user = members.find_user(principal.id) if principal.kind == "user" else None
    return Myself(
        principal=principal,
        organization=members.organization(),
        email=None if user is None else user.email,
        full_name=None if user is None else user.full_name,
        permissions=sorted(permissions_of(principal.role, principal.scopes)),
    )


def requests_per_minute(database: Database, principal: Principal) -> int | None:
    """How many requests each credential of the caller's organization may send in a minute; None = the usual number."""
    with database.unit_of_work(principal.scope) as session:
        return MemberRepository(session, principal.scope).organization().requests_per_minute


def set_request_rate(session: Session, who: str, scope: Scope, per_minute: int | None) -> None:
    """An operator's act: how many requests each credential of an organization may send in a minute.

    None = the platform's usual number, 0 = any number. API processes believe what they knew for up to a minute.
    """
    MemberRepository(session, scope).organization().requests_per_minute = per_minute
    audit.record(
        session,
        who,
        scope,
        action="organization.set_rate",
        resource_kind="organization",
        resource_id=scope.organization_id,
        detail={"requests_per_minute": per_minute},
    )


def change_password(
    session: Session, security: Security, principal: Principal, *, token: str, current: str, new: str
) -> None:
    """Give the caller, a user, a new password; every other session of the user ends, everywhere.

    `token` is the caller's session. Raises WrongCredentials (401), TooManyAttempts (429), Busy (503).
    """
    with security.passwords.turn():
        _change_password(session, security, principal, token=token, current=current, new=new)


def _change_password(
    session: Session, security: Security, principal: Principal, *, token: str, current: str, new: str
) -> None:
    user = MemberRepository(session, principal.scope).find_user(principal.id)
    if principal.kind != "user" or user is None:
        raise WrongCredentials("only a user with a session has a password to change")
    security.limiter.attempt(user.email, "password change")
    if not security.passwords.verify(user.password_hash, current):
        raise WrongCredentials("the current password is another")
    security.limiter.succeeded(user.email, "password change")
    memberships = CredentialRepository(session).password(user.email)
    MemberRepository(session, principal.scope).set_password(user.id, security.passwords.hash(new))
    for membership in memberships:
        set_tenant(session, membership.organization_id)
        end_sessions(session, Scope(membership.organization_id), user.id, but=hash_token(token))
    set_tenant(session, principal.organization_id)
    audit.record(
        session,
        principal,
        principal.scope,
        action="user.change_password",
        resource_kind="user",
        resource_id=user.id,
        detail={},
    )
