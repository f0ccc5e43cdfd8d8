"""API keys: managers see and revoke all, others their own. Making one needs the permission `write`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session
from starlette.responses import Response

from backend.identity import keys
from backend.identity.schemas import ApiKeyCreate
from frontend.forms import Form, Typed, parse
from frontend.lists import Listing, Lists
from frontend.pages.common import AtDesk, Chosen, Desk, FromOurPage, TypedCount
from frontend.services import parse_id
from frontend.views import settings as views

router = APIRouter(prefix="/settings/keys")

LIST = "/settings/keys"
PAGE_SIZE = 50
Listed = Annotated[Listing, Depends(Lists("text", "revoked", sorts=("name", "created_at"), usual="-created_at"))]
CREATE_EXAMPLE = """curl {base}/api/v1/api-keys \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"name": "website", "scopes": ["invoke"]}}'"""
USE_EXAMPLE = """curl {base}/api/v1/me \\
  -H "Authorization: Bearer {token}\""""


@router.get("")
def list_keys(desk: AtDesk, listing: Listed) -> Response:
    """Keys, newest first; `revoked` shows those that were revoked too."""
    revoked = bool(listing["revoked"])
    with desk.session() as session:
        page = listing.page(PAGE_SIZE)
        rows, after = views.read_keys(session, desk.viewer, page, revoked=revoked, text=listing["text"])
    return desk.show_list("settings/keys.html", "keys", listing, after, keys=rows)


@router.post("/revoke", dependencies=[FromOurPage])
def revoke_keys(desk: AtDesk, chosen: Chosen, typed: TypedCount = "") -> Response:
    """End the chosen keys, for good."""
    desk.viewer.require("write")
    desk.counted(chosen, typed)

    def name(session: Session, key_id: UUID) -> str:
        return keys.get_key(session, desk.viewer, key_id).name

    def revoke(key_id: UUID) -> None:
        with desk.session() as session:
            keys.revoke_key(session, desk.viewer, key_id)

    return desk.show_outcomes(desk.each(chosen, name=name, act=revoke, done=desk.say("It was revoked.")), LIST)


@router.get("/new")
def show_new(desk: AtDesk) -> Response:
    """The form of a new key."""
    desk.viewer.require("write")
    return _new(desk, Form())


@router.post("", dependencies=[FromOurPage])
def create_key(desk: AtDesk, typed: Typed) -> Response:
    """A new key; the answer shows its token and secret, once."""
    desk.viewer.require("write")

    def create(session: Session, wanted: ApiKeyCreate) -> tuple[views.KeyRow, str, str]:
        made = keys.create_key(session, desk.back.security.vault, desk.viewer, **dict(wanted))
        session.flush()
        return views.key_row(made.key), made.token, made.secret

    form = parse(ApiKeyCreate, typed)
    made = desk.take(form, create)
    if made is None:
        return _new(desk, form)
    row, token, secret = made
    example = USE_EXAMPLE.format(base=desk.base, token=token)
    return desk.show("settings/key_created.html", key=row, token=token, secret=secret, api_example=example)


def _new(desk: Desk, form: Form[ApiKeyCreate]) -> Response:
    return desk.show_form(
        "settings/key_new.html",
        form,
        roles=views.roles_within(desk.viewer),
        scopes=views.scopes_within(desk.viewer),
        expiries=views.expiries(form.values.get("expires_at", "")),
        api_example=CREATE_EXAMPLE.format(base=desk.base),
    )


@router.post("/{key_id}/revoke", dependencies=[FromOurPage])
def revoke_key(desk: AtDesk, key_id: str) -> Response:
    """End a key, for good."""
    desk.viewer.require("write")
    with desk.session() as session:
        keys.revoke_key(session, desk.viewer, parse_id(key_id))
    return desk.go_on(LIST, desk.say("The key was revoked. It opens nothing any more."))
