"""View models of the settings room, and how they are read from identity and projects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.auth import PERMISSIONS, Permission, Principal, permissions_of
from backend.core.db import Scope
from backend.core.pagination import PageRequest
from backend.identity import keys, members
from backend.identity import service as identity
from backend.identity.models import ApiKey, Membership, User
from backend.projects import service as projects

MOST_TAGS = 1000
MOST_CARRIERS = 200
EXPIRY_DAYS = (7, 30, 90, 365)
PAGES = {
    "api_keys": "/settings/keys",
    "budgets": "/costs/budgets/{id}",
    "dataset_versions": "/data/versions/{id}",
    "datasets": "/data/{id}",
    "endpoints": "/endpoints/{id}",
    "jobs": "/training/{id}",
    "models": "/models/{id}",
    "model_versions": "/models/versions/{id}",
    "projects": "/projects/{id}",
}
"""Where what carries a tag has a page, by table."""


@dataclass(frozen=True, kw_only=True)
class Me:
    """Who is logged in, and where."""

    full_name: str
    email: str
    role: str
    permissions: Sequence[str]
    organization_id: str
    organization_name: str
    organization_slug: str
    account_id: str


@dataclass(frozen=True, kw_only=True)
class MemberRow:
    """A member. `mine`: it is the viewer. `within`: its role is none that exceeds the viewer's."""

    id: str
    email: str
    full_name: str
    role: str
    joined_at: datetime
    mine: bool
    within: bool


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """An API key, without what opens anything. `state`: works, expired or revoked."""

    id: str
    name: str
    access_key_id: str
    role: str
    scopes: Sequence[str]
    tags: Mapping[str, str]
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TagRow:
    """One tag: how many rows of which tables carry it."""

    key: str
    value: str
    counts: Sequence[tuple[str, int]]


@dataclass(frozen=True, kw_only=True)
class CarrierRow:
    """Something that carries a tag. `path` None = it has no page of its own."""

    kind: str
    name: str
    path: str | None


def read_me(session: Session, viewer: Principal) -> Me:
    """The viewer and its organization."""
    found = identity.describe_caller(session, viewer)
    return Me(
        full_name=found.full_name or viewer.name,
        email=found.email or "",
        role=viewer.role,
        permissions=found.permissions,
        organization_id=str(found.organization.id),
        organization_name=found.organization.name,
        organization_slug=found.organization.slug,
        account_id=found.organization.account_id,
    )


def roles_within(viewer: Principal) -> list[str]:
    """The roles that the viewer may give: those that may do no more than it; only owners make owners."""
    own = permissions_of(viewer.role, viewer.scopes)
    return [
        role
        for role, permissions in PERMISSIONS.items()
        if permissions <= own and (role != "owner" or viewer.role == "owner")
    ]


def scopes_within(viewer: Principal) -> list[str]:
    """The scopes that a key of the viewer's may have."""
    return [one for one in get_args(Permission) if viewer.allows(one)]


def read_members(
    session: Session, viewer: Principal, page: PageRequest, *, text: str = ""
) -> tuple[list[MemberRow], str | None]:
    """One page of members, oldest first, and the next page's cursor."""
    rows, cursor = members.list_members(session, viewer, page, text=text)
    return [member_row(viewer, *row) for row in rows], cursor


def member_row(viewer: Principal, membership: Membership, user: User) -> MemberRow:
    """A member as its row."""
    return MemberRow(
        id=str(user.id),
        email=user.email,
        full_name=user.full_name,
        role=membership.role,
        joined_at=membership.created_at,
        mine=user.id == viewer.id,
        within=membership.role in roles_within(viewer),
    )


def read_keys(
    session: Session, viewer: Principal, page: PageRequest, *, revoked: bool, text: str = ""
) -> tuple[list[KeyRow], str | None]:
    """One page of the keys that the viewer may see, newest first, and the next page's cursor."""
    rows, cursor = keys.list_keys(session, viewer, page, include_revoked=revoked, text=text)
    return [key_row(row) for row in rows], cursor


def key_row(key: ApiKey) -> KeyRow:
    """A key as its row."""
    expired = key.expires_at is not None and key.expires_at <= datetime.now(UTC)
    return KeyRow(
        id=str(key.id),
        name=key.name,
        access_key_id=key.access_key_id,
        role=key.role,
        scopes=key.scopes,
        tags=key.tags,
        state="revoked" if key.revoked_at else "expired" if expired else "works",
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


def expiries(typed: str) -> list[tuple[str, int]]:
    """Times at which a key may end, as (what the form sends, days from today); what was typed stays among them."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    offered = [((today + timedelta(days=days)).isoformat(), days) for days in EXPIRY_DAYS]
    return offered if not typed or typed in dict(offered) else [*offered, (typed, 0)]


def read_tags(session: Session, scope: Scope) -> list[TagRow]:
    """Every tag in use, by key and value."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for key, value, table, count in projects.list_tags(session, scope, limit=MOST_TAGS):
        found.setdefault((key, value), []).append((table, count))
    return [TagRow(key=key, value=value, counts=counts) for (key, value), counts in found.items()]


def read_carriers(session: Session, scope: Scope, key: str, value: str) -> list[CarrierRow]:
    """What carries a tag, newest first."""
    rows = projects.list_carriers(session, scope, key, value, limit=MOST_CARRIERS)
    return [CarrierRow(kind=table, name=name or _short(id_), path=_path(table, id_)) for table, id_, name in rows]


def _short(id_: UUID) -> str:
    return f"\N{HORIZONTAL ELLIPSIS}{str(id_)[-8:]}"


def _path(table: str, id_: UUID) -> str | None:
    return PAGES[table].format(id=id_) if table in PAGES else None
