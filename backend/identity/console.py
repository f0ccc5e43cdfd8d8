"""What the admin console reads of organizations and people. Role *operator*, which only reads; unscoped on purpose."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Row, String, cast, func, or_, select
from sqlalchemy.orm import Session

from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.identity.models import Membership, Operator, Organization, User


def page(session: Session, words: str, page: PageRequest) -> tuple[list[Organization], str | None]:
    """Organizations whose name or account id holds `words`, newest first. Raises InvalidCursor."""
    query = select(Organization)
    if words:
        query = query.where(
            or_(Organization.name.icontains(words, autoescape=True), Organization.account_id.startswith(words))
        )
    sorts: Sorts = {"name": [Organization.name, Organization.id], "created_at": [Organization.id]}
    return fetch_page(session, query, page, keys=[Organization.id], sorts=sorts)


def find(session: Session, organization_id: UUID) -> Organization | None:
    """One organization."""
    return session.scalars(select(Organization).where(Organization.id == organization_id)).one_or_none()


def find_named(session: Session, words: str) -> UUID | None:
    """The id of the organization with this account id, or with this id."""
    return session.scalar(
        select(Organization.id).where(or_(Organization.account_id == words, cast(Organization.id, String) == words))
    )


def names(session: Session, organization_ids: Collection[UUID]) -> dict[UUID, str]:
    """Names of these organizations."""
    rows = session.execute(
        select(Organization.id, Organization.name).where(Organization.id.in_(list(organization_ids)))
    )
    return {row[0]: row[1] for row in rows}


def count_organizations(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(Organization)) or 0


def count_members(session: Session, organization_ids: Collection[UUID]) -> dict[UUID, int]:
    """Members of each of these organizations."""
    rows = session.execute(
        select(Membership.organization_id, func.count())
        .where(Membership.organization_id.in_(list(organization_ids)))
        .group_by(Membership.organization_id)
    )
    return {row[0]: row[1] for row in rows}


def owners(session: Session, organization_id: UUID) -> Sequence[str]:
    """E-mail addresses of the owners of one organization, the oldest first."""
    return session.scalars(
        select(User.email)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id, Membership.role == "owner")
        .order_by(Membership.id)
        .limit(20)
    ).all()


def actors(session: Session, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """E-mail addresses of these people."""
    rows = session.execute(select(User.id, User.email).where(User.id.in_(list(user_ids))))
    return {row[0]: row[1] for row in rows}


def operators(session: Session) -> Sequence[Row[str]]:
    """(e-mail) of everybody who may see the console, oldest first."""
    return session.execute(
        select(User.email).join(Operator, Operator.user_id == User.id).order_by(Operator.granted_at)
    ).all()
