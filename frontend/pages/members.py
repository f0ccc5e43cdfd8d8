"""Members of the organization. All see them; whoever has the permission `manage` changes them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session
from starlette.responses import Response

from backend.core.errors import DomainError
from backend.identity import members
from backend.identity.errors import AlreadyMember, EmailTaken
from backend.identity.schemas import MemberAdd, RoleChange
from frontend.forms import Form, Typed, parse
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Desk, FromOurPage
from frontend.services import parse_id
from frontend.views import settings as views

router = APIRouter(prefix="/settings/members")

LIST = "/settings/members"
PAGE_SIZE = 50
Listed = Annotated[Listing, Depends(Lists("text", sorts=("joined_at",), usual="joined_at"))]
ADD_EXAMPLE = """curl {base}/api/v1/members \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"email": "grace@example.com", "full_name": "Grace Hopper", "role": "developer"}}'"""
CHANGE_EXAMPLE = """curl -X PATCH {base}/api/v1/members/{id} \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"role": "{role}"}}'"""


@router.get("")
def list_members(desk: AtDesk, listing: Listed) -> Response:
    """Everybody, oldest first."""
    with desk.session() as session:
        rows, after = views.read_members(session, desk.viewer, listing.page(PAGE_SIZE), text=listing["text"])
    return desk.show_list("settings/members.html", "members", listing, after, members=rows)


@router.get("/new")
def show_new(desk: AtDesk) -> Response:
    """The form for somebody new."""
    desk.viewer.require("manage")
    return _new(desk, Form())


@router.post("", dependencies=[FromOurPage])
def add_member(desk: AtDesk, typed: Typed) -> Response:
    """Somebody new; the answer shows the initial password, once."""
    desk.viewer.require("manage")
    form = parse(MemberAdd, typed)
    if form.request is None:
        return _new(desk, form)
    try:
        with desk.session() as session:
            made = members.add_member(session, desk.back.security.passwords, desk.viewer, **dict(form.request))
            row = views.member_row(desk.viewer, made.membership, made.user)
    except (AlreadyMember, EmailTaken) as error:
        form.errors["email"] = f"{error.detail[:1].upper()}{error.detail[1:]}."
    except DomainError as error:
        form.refuse(error)
    else:
        return desk.show("settings/member_added.html", member=row, password=made.initial_password)
    return _new(desk, form)


def _new(desk: Desk, form: Form[MemberAdd]) -> Response:
    example = ADD_EXAMPLE.format(base=desk.base)
    roles = views.roles_within(desk.viewer)
    return desk.show_form("settings/member_new.html", form, roles=roles, api_example=example)


@router.get("/{user_id}")
def show_member(desk: AtDesk, user_id: str) -> Response:
    """One member; those who may change the role here, or remove the member."""
    row = _read(desk, parse_id(user_id))
    return _member(desk, row, Form(values={"role": row.role}))


@router.post("/{user_id}/role", dependencies=[FromOurPage])
def change_role(desk: AtDesk, typed: Typed, user_id: str) -> Response:
    """Another role."""
    desk.viewer.require("manage")
    wanted = parse_id(user_id)
    row, form = _read(desk, wanted), parse(RoleChange, typed)

    def change(session: Session, request: RoleChange) -> bool:
        members.change_role(session, desk.viewer, wanted, role=request.role)
        return True

    if desk.take(form, change):
        return desk.go_on(LIST, desk.say("The role of %(name)s was changed.", name=row.full_name))
    return _member(desk, row, form)


@router.post("/{user_id}/remove", dependencies=[FromOurPage])
def remove_member(desk: AtDesk, user_id: str) -> Response:
    """End a membership; who removes himself is logged out by it."""
    desk.viewer.require("manage")
    wanted = parse_id(user_id)
    row = _read(desk, wanted)
    try:
        with desk.session() as session:
            members.remove_member(session, desk.viewer, wanted)
    except DomainError as error:
        form: Form[RoleChange] = Form(values={"role": row.role})
        form.refuse(error)
        return _member(desk, row, form)
    said = desk.say("%(name)s is no longer a member.", name=row.full_name)
    return desk.go_on("/login" if row.mine else LIST, said)


def _read(desk: Desk, user_id: UUID) -> views.MemberRow:
    with desk.session() as session:
        return views.member_row(desk.viewer, *members.get_member(session, desk.viewer, user_id))


def _member(desk: Desk, row: views.MemberRow, form: Form[RoleChange]) -> Response:
    example = CHANGE_EXAMPLE.format(base=desk.base, id=row.id, role=row.role)
    roles = views.roles_within(desk.viewer)
    return desk.show_form("settings/member.html", form, member=row, roles=roles, api_example=example)
