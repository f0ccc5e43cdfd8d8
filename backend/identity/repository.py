"""All SQL of identity."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, exists, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.core.db import TENANT_SETTING, Scope
from backend.core.pagination import PageRequest, Sorts, fetch_page
from backend.identity.models import ApiKey, LoginSession, Membership, Operator, Organization, OrganizationKey, User

# One round trip: whose the credential is, and row-level security sees that tenant (as `core.db.set_tenant` does).
_API_KEY, _SESSION = (
    text(
        f"SELECT found.*, set_config('{TENANT_SETTING}', found.organization_id::text, true)"  # noqa: S608 - constants
        f" FROM {function}(:presented) AS found"
    )
    for function in ("auth_api_key", "auth_session")
)


class CredentialRepository:
    """Whose a credential is; the only reads without a tenant, by SECURITY DEFINER functions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def api_key(self, token_hash: bytes) -> Row[*tuple[Any, ...]] | None:
        """(key_id, organization_id, account_id, name, role, scopes, is_use_news) of a key that counts.

        The transaction is in its tenant from then on.
        """
        return self._session.execute(_API_KEY, {"presented": token_hash}).one_or_none()

    def touch_api_key(self, token_hash: bytes) -> None:
        """Note that the key is used now."""
        self._session.execute(text("SELECT touch_api_key(:presented)"), {"presented": token_hash})

    def session(self, token_hash: bytes) -> Row[*tuple[Any, ...]] | None:
        """(session_id, organization_id, account_id, user_id, email, full_name, role, is_operator) of one that counts.

        The transaction is in its tenant from then on.
        """
        return self._session.execute(_SESSION, {"presented": token_hash}).one_or_none()

    def password(self, email: str) -> Sequence[Row[*tuple[Any, ...]]]:
        """(user_id, password_hash, organization_id, role) per membership, oldest membership first."""
        return self._session.execute(text("SELECT * FROM auth_password(:email)"), {"email": email}).all()

    def orphan(self, email: str) -> UUID | None:
        """The account of this address, if it has no membership anywhere. Others adding it wait until we commit."""
        self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(lower(:email), 0))"), {"email": email}
        )
        found: UUID | None = self._session.scalar(text("SELECT auth_orphan_user(:email)"), {"email": email})
        return found


class KeyRepository:
    """An organization's data keys."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def current(self) -> OrganizationKey | None:
        """The newest key that is not destroyed."""
        return self._session.scalars(
            select(OrganizationKey)
            .where(
                OrganizationKey.organization_id == self._scope.organization_id,
                OrganizationKey.destroyed_at.is_(None),
            )
            .order_by(OrganizationKey.id.desc())
            .limit(1)
        ).one_or_none()

    def find(self, key_id: UUID) -> OrganizationKey | None:
        """One key, destroyed or not."""
        return self._session.scalars(
            select(OrganizationKey).where(
                OrganizationKey.organization_id == self._scope.organization_id, OrganizationKey.id == key_id
            )
        ).one_or_none()

    def add(self, key: OrganizationKey) -> None:
        """Insert."""
        self._session.add(key)
        self._session.flush()


class ApiKeyRepository:
    """API keys of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def add(self, key: ApiKey) -> None:
        """Insert."""
        self._session.add(key)
        self._session.flush()

    def find(self, key_id: UUID) -> ApiKey | None:
        """One key, locked against concurrent changes."""
        return self._session.scalars(
            select(ApiKey)
            .where(ApiKey.organization_id == self._scope.organization_id, ApiKey.id == key_id)
            .with_for_update(key_share=True)
        ).one_or_none()

    def maker_of(self, key_id: UUID) -> UUID | None:
        """The user behind a key."""
        return self._session.scalar(
            select(ApiKey.created_by).where(ApiKey.organization_id == self._scope.organization_id, ApiKey.id == key_id)
        )

    def list_keys(
        self, page: PageRequest, *, made_by: UUID | None = None, include_revoked: bool, words: str = ""
    ) -> tuple[list[ApiKey], str | None]:
        """Newest first, without those of sessions; `made_by` = only that user's; `words` = what a name holds."""
        statement = select(ApiKey).where(
            ApiKey.organization_id == self._scope.organization_id, ApiKey.session_id.is_(None)
        )
        if made_by is not None:
            statement = statement.where(ApiKey.created_by == made_by)
        if not include_revoked:
            statement = statement.where(ApiKey.revoked_at.is_(None))
        if words:
            statement = statement.where(ApiKey.name.icontains(words, autoescape=True))
        newest = [ApiKey.created_at, ApiKey.id]
        sorts: Sorts = {"name": [ApiKey.name, ApiKey.id], "created_at": newest}
        return fetch_page(self._session, statement, page, keys=newest, sorts=sorts)

    def key_of_session(self, session_id: UUID) -> ApiKey | None:
        """The session's key that works the longest; the session is locked, so that two callers make one."""
        self._session.execute(
            select(LoginSession.id)
            .where(LoginSession.organization_id == self._scope.organization_id, LoginSession.id == session_id)
            .with_for_update(key_share=True)
        )
        return self._session.scalars(
            select(ApiKey)
            .where(
                ApiKey.organization_id == self._scope.organization_id,
                ApiKey.session_id == session_id,
                ApiKey.revoked_at.is_(None),
            )
            .order_by(ApiKey.expires_at.desc())
            .limit(1)
        ).one_or_none()

    def revoke_keys_of_ended_sessions(self, user_id: UUID) -> bool:
        """End what a user's ended sessions called endpoints with. True = there was such a key."""
        ended = select(LoginSession.id).where(
            LoginSession.organization_id == self._scope.organization_id,
            LoginSession.user_id == user_id,
            LoginSession.revoked_at.is_not(None),
        )
        revoked = self._session.scalars(
            update(ApiKey)
            .where(
                ApiKey.organization_id == self._scope.organization_id,
                ApiKey.session_id.in_(ended),
                ApiKey.revoked_at.is_(None),
            )
            .values(revoked_at=func.clock_timestamp())
            .returning(ApiKey.id)
            .execution_options(synchronize_session=False)
        )
        return bool(revoked.all())

    def working_keys_of(self, user_id: UUID) -> Sequence[ApiKey]:
        """Keys a user made that are not revoked, locked."""
        return self._session.scalars(
            select(ApiKey)
            .where(
                ApiKey.organization_id == self._scope.organization_id,
                ApiKey.created_by == user_id,
                ApiKey.revoked_at.is_(None),
            )
            .order_by(ApiKey.id)
            .with_for_update(key_share=True)
        ).all()


class MemberRepository:
    """Members, their sessions, and the organization itself."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def organization(self) -> Organization:
        """The organization."""
        return self._session.scalars(select(Organization).where(Organization.id == self._scope.organization_id)).one()

    def find_user(self, user_id: UUID) -> User | None:
        """A member's account."""
        return self._session.scalars(
            select(User)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.organization_id == self._scope.organization_id, User.id == user_id)
        ).one_or_none()

    def find_member(self, user_id: UUID) -> tuple[Membership, User] | None:
        """A membership and its account."""
        row = self._session.execute(
            select(Membership, User)
            .join(User, User.id == Membership.user_id)
            .where(Membership.organization_id == self._scope.organization_id, User.id == user_id)
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    def find_by_email(self, email: str) -> User | None:
        """The member with this address."""
        return self._session.scalars(
            select(User)
            .join(Membership, Membership.user_id == User.id)
            .where(
                Membership.organization_id == self._scope.organization_id,
                func.lower(User.email) == func.lower(email),
            )
        ).one_or_none()

    def add_user(self, user_id: UUID, *, email: str, full_name: str, password_hash: str) -> bool:
        """Insert an account; False when the address has one. Its row is visible only once it is a member."""
        try:
            with self._session.begin_nested():
                self._session.execute(
                    insert(User).values(id=user_id, email=email, full_name=full_name, password_hash=password_hash)
                )
        except IntegrityError:
            return False
        return True

    def renew_user(self, user_id: UUID, *, full_name: str, password_hash: str) -> None:
        """A new name and password for an account that has just become a member."""
        self._session.execute(
            update(User).where(User.id == user_id).values(full_name=full_name, password_hash=password_hash)
        )

    def set_password(self, user_id: UUID, password_hash: str) -> None:
        """Replace a member's password."""
        self._session.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))

    def add(self, membership: Membership) -> None:
        """Insert."""
        self._session.add(membership)
        self._session.flush()

    def remove(self, membership: Membership) -> None:
        """Delete."""
        self._session.delete(membership)
        self._session.flush()

    def lock_member(self, user_id: UUID) -> tuple[Membership | None, int]:
        """The membership and how many owners there are; owners are locked first, so that two cannot go at once."""
        mine = select(Membership).where(Membership.organization_id == self._scope.organization_id)
        owners = self._session.scalars(
            mine.where(Membership.role == "owner").order_by(Membership.id).with_for_update()
        ).all()
        member = self._session.scalars(mine.where(Membership.user_id == user_id).with_for_update()).one_or_none()
        return member, len(owners)

    def list_members(self, page: PageRequest, words: str = "") -> tuple[list[tuple[Membership, User]], str | None]:
        """Oldest member first; `words` = what the name or the address holds."""
        statement = select(Membership).where(Membership.organization_id == self._scope.organization_id)
        if words:
            named = or_(User.full_name.icontains(words, autoescape=True), User.email.icontains(words, autoescape=True))
            statement = statement.where(exists().where(User.id == Membership.user_id, named))
        keys = [Membership.created_at, Membership.id]
        sorts: Sorts = {"joined_at": keys}
        rows, cursor = fetch_page(self._session, statement, page, keys=keys, descending=False, sorts=sorts)
        users = self._session.scalars(select(User).where(User.id.in_([row.user_id for row in rows])))
        by_id = {user.id: user for user in users}
        return [(row, by_id[row.user_id]) for row in rows], cursor

    def find_session(self, token_hash: bytes) -> LoginSession | None:
        """The log-in session of this token."""
        return self._session.scalars(
            select(LoginSession).where(
                LoginSession.organization_id == self._scope.organization_id, LoginSession.token_hash == token_hash
            )
        ).one_or_none()

    def add_session(self, user_id: UUID, token_hash: bytes, expires_at: datetime) -> None:
        """Insert a log-in session."""
        self._session.add(
            LoginSession(
                organization_id=self._scope.organization_id,
                user_id=user_id,
                token_hash=token_hash,
                expires_at=expires_at,
            )
        )
        self._session.flush()

    def revoke_sessions(self, user_id: UUID, *, only: bytes | None = None, but: bytes | None = None) -> None:
        """End a user's sessions here: all, `only` the one with this hash, or all `but` it."""
        statement = update(LoginSession).where(
            LoginSession.organization_id == self._scope.organization_id,
            LoginSession.user_id == user_id,
            LoginSession.revoked_at.is_(None),
        )
        if only is not None:
            statement = statement.where(LoginSession.token_hash == only)
        if but is not None:
            statement = statement.where(LoginSession.token_hash != but)
        self._session.execute(
            statement.values(revoked_at=func.clock_timestamp()).execution_options(synchronize_session=False)
        )


class UnscopedOperatorRepository:
    """Operators belong to the platform, not to a tenant. Role *controller*."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def user_of(self, email: str) -> UUID | None:
        """The account of this address, whatever organization it is in."""
        return self._session.scalar(select(User.id).where(func.lower(User.email) == func.lower(email)))

    def organizations_of(self, user_id: UUID) -> Sequence[UUID]:
        """Where this person is a member, oldest membership first."""
        return self._session.scalars(
            select(Membership.organization_id).where(Membership.user_id == user_id).order_by(Membership.id)
        ).all()

    def add(self, user_id: UUID, granted_by: str) -> bool:
        """False = was there already."""
        statement = postgresql.insert(Operator).values(user_id=user_id, granted_by=granted_by)
        made = self._session.scalar(statement.on_conflict_do_nothing().returning(Operator.user_id))
        return made is not None

    def remove(self, user_id: UUID) -> bool:
        """False = was not there."""
        gone = self._session.scalar(delete(Operator).where(Operator.user_id == user_id).returning(Operator.user_id))
        return gone is not None

    def every(self) -> Sequence[Row[UUID, str, str, datetime]]:
        """(user id, e-mail, granted by, since), oldest first."""
        return self._session.execute(
            select(User.id, User.email, Operator.granted_by, Operator.granted_at)
            .join(User, User.id == Operator.user_id)
            .order_by(Operator.granted_at, User.id)
        ).all()
