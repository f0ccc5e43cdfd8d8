"""Members of the organization. All see them; whoever has the permission `manage` changes them."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.pagination import PageRequest
from backend.identity import members
from backend.identity.errors import AlreadyMember, EmailTaken
from backend.identity.schemas import MemberAdd, RoleChange
from frontend import flash
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import settings as views

router = APIRouter(prefix="/settings/members")

LIST = "/settings/members"
PAGE_SIZE = 50
ADD_EXAMPLE = """curl {base}/api/v1/members \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"email": "grace@example.com", "full_name": "Grace Hopper", "role": "developer"}}'"""
CHANGE_EXAMPLE = """curl -X PATCH {base}/api/v1/members/{id} \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"role": "{role}"}}'"""


@router.get("")
def list_members(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    cursor: Annotated[str, Query(max_length=2000)] = "",
) -> Response:
    """Everybody, oldest first."""
    with back.tenant(viewer) as session:
        rows, after = views.read_members(session, viewer, PageRequest(limit=PAGE_SIZE, cursor=cursor or None))
    context = framed(platform, viewer, members=rows, cursor=cursor, next_cursor=after)
    return pages.respond(request, "settings/members.html", context)


@router.get("/new")
def show_new(request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services) -> Response:
    """The form for somebody new."""
    viewer.require("manage")
    return _new(request, pages, platform, viewer, Form())


@router.post("", dependencies=[FromOurPage])
def add_member(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Somebody new; the answer shows the initial password, once."""
    viewer.require("manage")
    form = parse(MemberAdd, typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                made = members.add_member(session, back.security.passwords, viewer, **dict(form.request))
                row = views.member_row(viewer, made.membership, made.user)
        except (AlreadyMember, EmailTaken) as error:
            form.errors["email"] = f"{error.detail[:1].upper()}{error.detail[1:]}."
        except DomainError as error:
            form.refuse(error)
        else:
            context = framed(platform, viewer, member=row, password=made.initial_password)
            return pages.respond(request, "settings/member_added.html", context)
    return _new(request, pages, platform, viewer, form)


def _new(request: Request, pages: Renderer, platform: Services, viewer: Principal, form: Form[MemberAdd]) -> Response:
    base = str(request.base_url).rstrip("/")
    context = framed(
        platform, viewer, form=form, roles=views.roles_within(viewer), api_example=ADD_EXAMPLE.format(base=base)
    )
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "settings/member_new.html", context, status_code=code)


@router.get("/{user_id}")
def show_member(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, user_id: str
) -> Response:
    """One member; those who may change the role here, or remove the member."""
    with back.tenant(viewer) as session:
        row = views.member_row(viewer, *members.get_member(session, viewer, parse_id(user_id)))
    return _member(request, pages, platform, viewer, row, Form(values={"role": row.role}))


@router.post("/{user_id}/role", dependencies=[FromOurPage])
def change_role(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    typed: Typed,
    user_id: str,
) -> Response:
    """Another role."""
    viewer.require("manage")
    wanted = parse_id(user_id)
    with back.tenant(viewer) as session:
        row = views.member_row(viewer, *members.get_member(session, viewer, wanted))
    form = parse(RoleChange, typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                members.change_role(session, viewer, wanted, role=form.request.role)
        except DomainError as error:
            form.refuse(error)
        else:
            said = pages.say(request, "The role of %(name)s was changed.", name=row.full_name)
            return flash.go_on(request, LIST, said)
    return _member(request, pages, platform, viewer, row, form)


@router.post("/{user_id}/remove", dependencies=[FromOurPage])
def remove_member(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, user_id: str
) -> Response:
    """End a membership; who removes himself is logged out by it."""
    viewer.require("manage")
    wanted = parse_id(user_id)
    with back.tenant(viewer) as session:
        row = views.member_row(viewer, *members.get_member(session, viewer, wanted))
    try:
        with back.tenant(viewer) as session:
            members.remove_member(session, viewer, wanted)
    except DomainError as error:
        form: Form[Any] = Form(values={"role": row.role})
        form.refuse(error)
        return _member(request, pages, platform, viewer, row, form)
    said = pages.say(request, "%(name)s is no longer a member.", name=row.full_name)
    return flash.go_on(request, "/login" if row.mine else LIST, said)


def _member(
    request: Request,
    pages: Renderer,
    platform: Services,
    viewer: Principal,
    row: views.MemberRow,
    form: Form[Any],
) -> Response:
    base = str(request.base_url).rstrip("/")
    example = CHANGE_EXAMPLE.format(base=base, id=row.id, role=row.role)
    context = framed(platform, viewer, form=form, member=row, roles=views.roles_within(viewer), api_example=example)
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "settings/member.html", context, status_code=code)
