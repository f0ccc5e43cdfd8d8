"""Use cases of API keys. Managers see and revoke every key; a developer its own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal, permissions_of
from backend.core.clock import database_now
from backend.core.crypto import hash_token, new_access_key_id, new_token
from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.ids import new_id
from backend.core.pagination import PageRequest
from backend.identity.errors import ApiKeyNotFound, ExpiryInThePast, RoleExceedsYours
from backend.identity.models import ApiKey
from backend.identity.repository import ApiKeyRepository
from backend.identity.vault import Vault

ROUTES_CHANGED = Doorbell("endpoints.control")
"""Gateways check keys against their routing table: the controller must rebuild it."""


@dataclass(frozen=True)
class NewApiKey:
    """A key at its birth: the only time its token and secret are told."""

    key: ApiKey
    token: str
    secret: str


@dataclass(frozen=True)
class OfSession:
    """What a session's own key is made with."""

    session_id: UUID
    key_id: UUID
    token: str


def create_key(
    session: Session,
    vault: Vault,
    principal: Principal,
    *,
    name: str,
    role: str | None = None,
    scopes: Collection[str] = (),
    expires_at: datetime | None = None,
    tags: Mapping[str, str] | None = None,
) -> NewApiKey:
    """A new key; role and scopes default to the caller's. Raises RoleExceedsYours, ExpiryInThePast."""
    chosen = role or principal.role
    narrowed = frozenset(scopes) or (principal.scopes if role is None else frozenset())
    refuse_more_than_own(principal, chosen, narrowed)
    if expires_at is not None and expires_at <= database_now(session):
        raise ExpiryInThePast("expires_at lies in the past")
    made = make_key(
        session,
        vault,
        principal.scope,
        name=name,
        role=chosen,
        scopes=narrowed,
        created_by=user_behind(session, principal),
        expires_at=expires_at,
        tags=tags or {},
    )
    _record(session, principal, "api_key.create", made.key, {"role": chosen, "scopes": sorted(narrowed)})
    return made


def make_key(
    session: Session,
    vault: Vault,
    scope: Scope,
    *,
    name: str,
    role: str,
    scopes: Collection[str],
    created_by: UUID | None,
    expires_at: datetime | None,
    tags: Mapping[str, str],
    of_session: OfSession | None = None,
) -> NewApiKey:
    """Write a key, whoever asks; `create_key`, `sessionkeys` and the seed check who may."""
    secret = new_token("mysk")
    key_id, token = (of_session.key_id, of_session.token) if of_session else (new_id(), new_token("my"))
    key = ApiKey(
        id=key_id,
        organization_id=scope.organization_id,
        name=name,
        created_by=created_by,
        access_key_id=new_access_key_id(),
        token_hash=hash_token(token),
        secret_encrypted=vault.encrypt(session, scope, secret.encode(), purpose=secret_purpose(key_id)),
        role=role,
        scopes=sorted(scopes),
        expires_at=expires_at,
        tags=dict(tags),
        session_id=of_session.session_id if of_session else None,
    )
    ApiKeyRepository(session, scope).add(key)
    ring_after_commit(session, ROUTES_CHANGED)
    return NewApiKey(key, token, secret)


def secret_purpose(key_id: UUID) -> str:
    """What a key's secret is encrypted for: this key and no other."""
    return f"api_keys.secret:{key_id}"


def list_keys(
    session: Session, principal: Principal, page: PageRequest, *, include_revoked: bool = False, text: str = ""
) -> tuple[list[ApiKey], str | None]:
    """One page of the keys the caller may see, newest first; `text` = what a name holds."""
    keys = ApiKeyRepository(session, principal.scope)
    if principal.allows("manage"):
        return keys.list_keys(page, include_revoked=include_revoked, words=text)
    user_id = user_behind(session, principal)
    if user_id is None:
        return [], None
    return keys.list_keys(page, made_by=user_id, include_revoked=include_revoked, words=text)


def get_key(session: Session, principal: Principal, key_id: UUID) -> ApiKey:
    """A key that the caller may see. Raises ApiKeyNotFound, also for another's key."""
    key = ApiKeyRepository(session, principal.scope).find(key_id)
    mine = key is not None and key.created_by is not None and key.created_by == user_behind(session, principal)
    if key is None or not (mine or principal.allows("manage")):
        raise ApiKeyNotFound(f"there is no API key {key_id}")
    return key


def revoke_key(session: Session, principal: Principal, key_id: UUID) -> None:
    """Revoke a key; one that is revoked stays so. Raises ApiKeyNotFound, also for another's key."""
    key = get_key(session, principal, key_id)
    if key.revoked_at is None:
        _revoke(session, principal, key, "asked for")


def revoke_keys_beyond(session: Session, principal: Principal, user_id: UUID, role: str | None) -> int:
    """Revoke what a user's keys may do beyond `role` (None = all of them): a membership changed. How many."""
    allowed = permissions_of(role or "")
    revoked = 0
    for key in ApiKeyRepository(session, principal.scope).working_keys_of(user_id):
        if role is None or key.role == "owner" != role or not permissions_of(key.role, key.scopes) <= allowed:
            _revoke(session, principal, key, "its maker's membership changed")
            revoked += 1
    return revoked


def refuse_more_than_own(principal: Principal, role: str, scopes: Collection[str] = ()) -> None:
    """Raise RoleExceedsYours unless the caller may do all that role and scopes would; only owners make owners."""
    own = permissions_of(principal.role, principal.scopes)
    if (role == "owner" and principal.role != "owner") or not permissions_of(role, scopes) <= own:
        raise RoleExceedsYours(f"the role '{role}' may do more than this credential", hint="choose a narrower role")


def user_behind(session: Session, principal: Principal) -> UUID | None:
    """The user: the caller, or who made the calling key."""
    if principal.kind == "user":
        return principal.id
    return ApiKeyRepository(session, principal.scope).maker_of(principal.id)


def _revoke(session: Session, principal: Principal, key: ApiKey, reason: str) -> None:
    key.revoked_at = database_now(session)
    ring_after_commit(session, ROUTES_CHANGED)
    _record(session, principal, "api_key.revoke", key, {"reason": reason})


def _record(session: Session, principal: Principal, action: str, key: ApiKey, detail: dict[str, object]) -> None:
    named = {"name": key.name, "access_key_id": key.access_key_id}
    audit.record(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind="api_key",
        resource_id=key.id,
        detail=named | detail,
    )
