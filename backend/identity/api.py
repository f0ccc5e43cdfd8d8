"""REST routes of identity: session, me, API keys, members."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response, status

from backend.core.errors import CrossSiteRequest
from backend.core.http import Caller, Manager, Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.identity import keys, members, service
from backend.identity.authentication import SESSION_COOKIE, refuse_cross_site
from backend.identity.errors import (
    AlreadyMember,
    ApiKeyNotFound,
    Busy,
    EmailTaken,
    ExpiryInThePast,
    LastOwner,
    MemberNotFound,
    RoleExceedsYours,
    TooManyAttempts,
    WrongCredentials,
)
from backend.identity.models import Membership, User
from backend.identity.schemas import (
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyRead,
    LogIn,
    MemberAdd,
    MemberAdded,
    MemberRead,
    MeRead,
    OrganizationRead,
    PasswordChange,
    RoleChange,
    SessionRead,
)
from backend.identity.security import Security

router = APIRouter(prefix="/api/v1", tags=["identity"])


def _security(request: Request) -> Security:
    security: Security = request.app.state.security
    return security


@router.post(
    "/session",
    status_code=status.HTTP_201_CREATED,
    responses=raises(WrongCredentials, TooManyAttempts, Busy, CrossSiteRequest),
)
def log_in(body: LogIn, request: Request, response: Response) -> SessionRead:
    """Log in: sets the session cookie. 401 `wrong_credentials`, 429 `too_many_attempts`."""
    refuse_cross_site(request, header_needed=False)
    security = _security(request)
    with request.app.state.database.unit_of_work() as session:
        made = service.log_in(
            session,
            security,
            email=body.email.strip(),
            password=body.password,
            address=request.client.host if request.client else "",
            organization_id=body.organization_id,
        )
    response.set_cookie(
        SESSION_COOKIE,
        made.token,
        max_age=int(security.session_lifetime.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.app.state.settings.security.secure_cookies or request.url.scheme == "https",
    )
    return SessionRead(
        user_id=made.principal.id,
        organization_id=made.principal.organization_id,
        role=made.principal.role,
        expires_at=made.expires_at,
    )


@router.delete("/session", status_code=status.HTTP_204_NO_CONTENT)
def log_out(request: Request, response: Response, _principal: Caller) -> None:
    """Log out: ends the session of the cookie. An API key has none to end."""
    token = request.cookies.get(SESSION_COOKIE)
    if token:
        with request.app.state.database.unit_of_work() as session:
            service.log_out(session, token)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")


@router.get("/me")
def read_me(principal: Caller, session: Transaction) -> MeRead:
    """Who the caller is, and what it may do."""
    me = service.describe_caller(session, principal)
    return MeRead(
        kind=principal.kind,
        id=principal.id,
        name=principal.name,
        email=me.email,
        role=principal.role,
        scopes=sorted(principal.scopes),
        permissions=me.permissions,
        organization=OrganizationRead.model_validate(me.organization),
    )


@router.post(
    "/me/password", status_code=status.HTTP_204_NO_CONTENT, responses=raises(WrongCredentials, TooManyAttempts, Busy)
)
def change_password(body: PasswordChange, request: Request, principal: Caller, session: Transaction) -> None:
    """Change the caller's password; its other sessions end."""
    service.change_password(
        session,
        _security(request),
        principal,
        token=request.cookies.get(SESSION_COOKIE, ""),
        current=body.current_password,
        new=body.new_password,
    )


@router.post("/api-keys", status_code=status.HTTP_201_CREATED, responses=raises(RoleExceedsYours, ExpiryInThePast))
def create_api_key(body: ApiKeyCreate, request: Request, principal: Writer, session: Transaction) -> ApiKeyCreated:
    """Create an API key. The token and the secret are in this answer and nowhere else."""
    made = keys.create_key(
        session,
        _security(request).vault,
        principal,
        name=body.name,
        role=body.role,
        scopes=body.scopes,
        expires_at=body.expires_at,
        tags=body.tags,
    )
    shown = ApiKeyRead.model_validate(made.key).model_dump()
    return ApiKeyCreated(**shown, token=made.token, secret=made.secret)


@router.get("/api-keys")
def list_api_keys(
    principal: Reader,
    session: Transaction,
    page: PageParameters,
    include_revoked: Annotated[bool, Query(description="also those that no longer open anything")] = False,  # noqa: FBT002 - a query parameter
) -> Page[ApiKeyRead]:
    """List API keys, newest first: all for managers, otherwise the caller's own."""
    rows, cursor = keys.list_keys(session, principal, page, include_revoked=include_revoked)
    return Page(items=[ApiKeyRead.model_validate(row) for row in rows], next_cursor=cursor)


@router.delete("/api-keys/{key_id}", status_code=status.HTTP_204_NO_CONTENT, responses=raises(ApiKeyNotFound))
def revoke_api_key(key_id: UUID, principal: Writer, session: Transaction) -> None:
    """Revoke an API key, for good."""
    keys.revoke_key(session, principal, key_id)


@router.get("/members")
def list_members(principal: Reader, session: Transaction, page: PageParameters) -> Page[MemberRead]:
    """List the organization's members, oldest first."""
    rows, cursor = members.list_members(session, principal, page)
    return Page(items=[_member(membership, user) for membership, user in rows], next_cursor=cursor)


@router.post(
    "/members", status_code=status.HTTP_201_CREATED, responses=raises(AlreadyMember, EmailTaken, RoleExceedsYours, Busy)
)
def add_member(body: MemberAdd, request: Request, principal: Manager, session: Transaction) -> MemberAdded:
    """Add somebody with a new account. The initial password is in this answer and nowhere else."""
    made = members.add_member(
        session,
        _security(request).passwords,
        principal,
        email=body.email,
        full_name=body.full_name,
        role=body.role,
    )
    shown = _member(made.membership, made.user).model_dump()
    return MemberAdded(**shown, initial_password=made.initial_password)


@router.get("/members/{user_id}", responses=raises(MemberNotFound))
def get_member(user_id: UUID, principal: Reader, session: Transaction) -> MemberRead:
    """Read one member."""
    return _member(*members.get_member(session, principal, user_id))


@router.patch("/members/{user_id}", responses=raises(MemberNotFound, LastOwner, RoleExceedsYours))
def change_role(user_id: UUID, body: RoleChange, principal: Manager, session: Transaction) -> MemberRead:
    """Give a member another role. 409 `last_owner`."""
    return _member(*members.change_role(session, principal, user_id, role=body.role))


@router.delete(
    "/members/{user_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=raises(MemberNotFound, LastOwner, RoleExceedsYours),
)
def remove_member(user_id: UUID, principal: Manager, session: Transaction) -> None:
    """Remove a member: the sessions here and the keys it made end too. 409 `last_owner`."""
    members.remove_member(session, principal, user_id)


def _member(membership: Membership, user: User) -> MemberRead:
    return MemberRead(
        user_id=user.id,
        email=user.email,
        full_name=user.full_name,
        role=membership.role,
        joined_at=membership.created_at,
    )
