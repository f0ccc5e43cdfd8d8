"""Use cases of members: list, add, change role, remove. An organization always keeps an owner."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.core.auth import Principal
from backend.core.ids import new_id
from backend.core.pagination import PageRequest
from backend.identity.errors import AlreadyMember, EmailTaken, LastOwner, MemberNotFound
from backend.identity.keys import refuse_more_than_own, revoke_keys_beyond
from backend.identity.models import Membership, User
from backend.identity.passwords import Passwords, new_password
from backend.identity.repository import CredentialRepository, MemberRepository
from backend.identity.sessionkeys import end_sessions


@dataclass(frozen=True)
class NewMember:
    """A member just added; the initial password is told only now."""

    membership: Membership
    user: User
    initial_password: str


def list_members(
    session: Session, principal: Principal, page: PageRequest, *, text: str = ""
) -> tuple[list[tuple[Membership, User]], str | None]:
    """One page of members, oldest first; `text` = what a name or address holds."""
    return MemberRepository(session, principal.scope).list_members(page, text)


def get_member(session: Session, principal: Principal, user_id: UUID) -> tuple[Membership, User]:
    """One member. Raises MemberNotFound."""
    members = MemberRepository(session, principal.scope)
    found = members.find_member(user_id)
    if found is None:
        raise _not_found(user_id)
    return found


def add_member(
    session: Session, passwords: Passwords, principal: Principal, *, email: str, full_name: str, role: str
) -> NewMember:
    """Make an account and its membership. Raises AlreadyMember, EmailTaken, RoleExceedsYours."""
    refuse_more_than_own(principal, role)
    members = MemberRepository(session, principal.scope)
    user_id = CredentialRepository(session).orphan(email)
    if members.find_by_email(email) is not None:
        raise AlreadyMember(f"{email} is already a member of this organization")
    password = new_password()
    with passwords.turn():
        password_hash = passwords.hash(password)
    membership = Membership(organization_id=principal.organization_id, role=role)
    if user_id is None:
        user_id = new_id()
        if not members.add_user(user_id, email=email, full_name=full_name, password_hash=password_hash):
            raise EmailTaken(
                f"{email} has an account outside this organization",
                hint="use another address, or ask the platform's operator",
            )
        membership.user_id = user_id
        members.add(membership)
    else:
        membership.user_id = user_id
        members.add(membership)
        members.renew_user(user_id, full_name=full_name, password_hash=password_hash)
    _record(session, principal, "member.add", user_id, {"email": email, "role": role})
    user = members.find_user(user_id)
    assert user is not None  # noqa: S101 - its membership was written above
    return NewMember(membership, user, password)


def change_role(session: Session, principal: Principal, user_id: UUID, *, role: str) -> tuple[Membership, User]:
    """Give a member another role; keys that exceed it are revoked.

    Raises MemberNotFound, RoleExceedsYours, LastOwner.
    """
    refuse_more_than_own(principal, role)
    members = MemberRepository(session, principal.scope)
    membership = _lock(members, principal, user_id, stays_owner=role == "owner")
    before, membership.role = membership.role, role
    revoked = revoke_keys_beyond(session, principal, user_id, role)
    _record(session, principal, "member.change_role", user_id, {"from": before, "to": role, "keys_revoked": revoked})
    user = members.find_user(user_id)
    if user is None:
        raise _not_found(user_id)
    return membership, user


def remove_member(session: Session, principal: Principal, user_id: UUID) -> None:
    """End a membership, with the user's sessions here and the keys the user made.

    Raises MemberNotFound, RoleExceedsYours, LastOwner.
    """
    members = MemberRepository(session, principal.scope)
    membership = _lock(members, principal, user_id, stays_owner=False)
    revoked = revoke_keys_beyond(session, principal, user_id, None)
    end_sessions(session, principal.scope, user_id)
    members.remove(membership)
    _record(session, principal, "member.remove", user_id, {"role": membership.role, "keys_revoked": revoked})


def _lock(members: MemberRepository, principal: Principal, user_id: UUID, *, stays_owner: bool) -> Membership:
    membership, owners = members.lock_member(user_id)
    if membership is None:
        raise _not_found(user_id)
    refuse_more_than_own(principal, membership.role)
    if membership.role == "owner" and owners == 1 and not stays_owner:
        raise LastOwner("this is the last owner of the organization", hint="make somebody else an owner first")
    return membership


def _not_found(user_id: UUID) -> MemberNotFound:
    return MemberNotFound(f"there is no member {user_id}")


def _record(session: Session, principal: Principal, action: str, user_id: UUID, detail: dict[str, object]) -> None:
    audit.record(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind="user",
        resource_id=user_id,
        detail=detail,
    )
