"""What the API takes and gives about identity."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.core.auth import Permission, Role
from backend.core.fields import DisplayName, Moment, Tags

Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=3, max_length=254, pattern=r"^[^\s@\x00-\x1f]+@[^\s@\x00-\x1f]+$"
    ),
]
NewPassword = Annotated[str, StringConstraints(min_length=10, max_length=1024)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LogIn(_Body):
    """E-mail and password; `organization_id` for members of several."""

    email: Annotated[str, StringConstraints(max_length=254)]
    password: Annotated[str, StringConstraints(max_length=1024)]
    organization_id: UUID | None = None


class PasswordChange(_Body):
    """The caller's new password."""

    current_password: Annotated[str, StringConstraints(max_length=1024)]
    new_password: NewPassword


class OrganizationRead(BaseModel):
    """The caller's organization."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    account_id: str
    name: str
    slug: str


class MeRead(BaseModel):
    """Who the caller is and what it may do. `email` only of a user."""

    kind: Literal["user", "api_key"]
    id: UUID
    name: str
    email: str | None
    role: str
    scopes: list[str]
    permissions: list[str]
    organization: OrganizationRead


class SessionRead(BaseModel):
    """A session that has begun; its token is in the cookie only."""

    user_id: UUID
    organization_id: UUID
    role: str
    expires_at: datetime


class ApiKeyCreate(_Body):
    """A new key. Role and scopes default to the caller's; scopes narrow the role.

    A key for an application that only asks endpoints has the one scope `invoke`.
    """

    name: DisplayName
    role: Role | None = None
    scopes: Annotated[list[Permission], Field(max_length=8)] = Field(default_factory=list)
    expires_at: Moment | None = None
    tags: Tags = Field(default_factory=dict)


class ApiKeyRead(BaseModel):
    """A key, without what opens anything."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    access_key_id: str
    role: str
    scopes: list[str]
    tags: dict[str, str]
    created_by: UUID | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ApiKeyCreated(ApiKeyRead):
    """A key at its birth: `token` (bearer) and `secret` (request signing) are told only now."""

    token: str
    secret: str


class MemberAdd(_Body):
    """Somebody new."""

    email: Email
    full_name: DisplayName
    role: Role


class RoleChange(_Body):
    """Another role."""

    role: Role


class MemberRead(BaseModel):
    """A member."""

    user_id: UUID
    email: str
    full_name: str
    role: str
    joined_at: datetime


class MemberAdded(MemberRead):
    """A member just added; the initial password is told only now."""

    initial_password: str
