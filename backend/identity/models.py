"""Tables of identity: organizations, users, memberships, sessions, API keys, organization keys."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Mapped, mapped_column

from backend.core.db import Base, Identified, Tagged, TenantOwned, Timestamped, tenant_key, tenant_reference


class Organization(Identified, Tagged, Timestamped, Base):
    """A tenant. `account_id` is its 12-digit number, used in resource names."""

    __tablename__ = "organizations"
    __table_args__ = (CheckConstraint("account_id ~ '^[1-9][0-9]{11}$'", name="account_id_digits"),)

    account_id: Mapped[str] = mapped_column(String(12), unique=True)
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    requests_per_minute: Mapped[int | None]
    """How many requests a credential may send in a minute; None = as many as the platform's setting says."""


class User(Identified, Timestamped, Base):
    """A person. May be a member of several organizations; seen only through a membership."""

    __tablename__ = "users"
    __table_args__ = (Index("uq_users_email_lower", text("lower(email)"), unique=True),)

    email: Mapped[str]
    full_name: Mapped[str]
    password_hash: Mapped[str]
    disabled_at: Mapped[datetime | None]


class Membership(Identified, TenantOwned, Timestamped, Base):
    """A user's role in an organization: owner, admin, developer, viewer or billing."""

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("organization_id", "user_id"),
        CheckConstraint("role in ('owner','admin','developer','viewer','billing')", name="role"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str]


class Operator(Base):
    """A person who runs the platform and may see the admin console. The app role has no right on this table."""

    __tablename__ = "operators"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    granted_by: Mapped[str]
    granted_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class LoginSession(Identified, TenantOwned, Timestamped, Base):
    """A browser's session, stored as the SHA-256 of its token."""

    __tablename__ = "sessions"
    __table_args__ = (tenant_key(), Index("ix_sessions_user", "organization_id", "user_id"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ApiKey(Identified, TenantOwned, Tagged, Timestamped, Base):
    """A bearer key: access-key id, SHA-256 of the token, and an encrypted secret for request signing.

    `session_id`: the session whose own key this is (`identity.sessionkeys`); nobody is shown it, and it ends with it.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        tenant_key(),
        Index("ix_api_keys_list", "organization_id", "created_at"),
        Index("ix_api_keys_created_by", "organization_id", "created_by"),
        tenant_reference("session_id", "sessions"),
        Index("ix_api_keys_session", "organization_id", "session_id", postgresql_where=text("session_id IS NOT NULL")),
    )

    name: Mapped[str]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    access_key_id: Mapped[str] = mapped_column(unique=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    secret_encrypted: Mapped[bytes] = mapped_column(LargeBinary)
    role: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(TEXT))
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    session_id: Mapped[UUID | None]


class OrganizationKey(Identified, TenantOwned, Timestamped, Base):
    """An organization's data key, wrapped by the KMS; destroying it shreds what it encrypted."""

    __tablename__ = "organization_keys"
    __table_args__ = (tenant_key(),)

    kms: Mapped[str]
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    destroyed_at: Mapped[datetime | None]
