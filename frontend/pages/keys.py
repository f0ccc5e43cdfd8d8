"""API keys: managers see and revoke all, others their own. Making one needs the permission `write`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.pagination import PageRequest
from backend.identity import keys
from backend.identity.schemas import ApiKeyCreate
from frontend import flash
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import settings as views

router = APIRouter(prefix="/settings/keys")

LIST = "/settings/keys"
PAGE_SIZE = 50
CREATE_EXAMPLE = """curl {base}/api/v1/api-keys \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"name": "website", "scopes": ["invoke"]}}'"""
USE_EXAMPLE = """curl {base}/api/v1/me \\
  -H "Authorization: Bearer {token}\""""


@router.get("")
def list_keys(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    cursor: Annotated[str, Query(max_length=2000)] = "",
    revoked: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """Keys, newest first; `revoked` shows those that were revoked too."""
    with back.tenant(viewer) as session:
        page = PageRequest(limit=PAGE_SIZE, cursor=cursor or None)
        rows, after = views.read_keys(session, viewer, page, revoked=bool(revoked))
    context = framed(platform, viewer, keys=rows, cursor=cursor, next_cursor=after, revoked=bool(revoked))
    return pages.respond(request, "settings/keys.html", context)


@router.get("/new")
def show_new(request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services) -> Response:
    """The form of a new key."""
    viewer.require("write")
    return _new(request, pages, platform, viewer, Form())


@router.post("", dependencies=[FromOurPage])
def create_key(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """A new key; the answer shows its token and secret, once."""
    viewer.require("write")
    form = parse(ApiKeyCreate, typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                made = keys.create_key(session, back.security.vault, viewer, **dict(form.request))
                session.flush()
                row = views.key_row(made.key)
        except DomainError as error:
            form.refuse(error)
        else:
            example = USE_EXAMPLE.format(base=str(request.base_url).rstrip("/"), token=made.token)
            context = framed(platform, viewer, key=row, token=made.token, secret=made.secret, api_example=example)
            return pages.respond(request, "settings/key_created.html", context)
    return _new(request, pages, platform, viewer, form)


def _new(
    request: Request, pages: Renderer, platform: Services, viewer: Principal, form: Form[ApiKeyCreate]
) -> Response:
    context = framed(
        platform,
        viewer,
        form=form,
        roles=views.roles_within(viewer),
        scopes=views.scopes_within(viewer),
        expiries=views.expiries(form.values.get("expires_at", "")),
        api_example=CREATE_EXAMPLE.format(base=str(request.base_url).rstrip("/")),
    )
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "settings/key_new.html", context, status_code=code)


@router.post("/{key_id}/revoke", dependencies=[FromOurPage])
def revoke_key(request: Request, *, viewer: LoggedIn, pages: Pages, back: Back, key_id: str) -> Response:
    """End a key, for good."""
    viewer.require("write")
    with back.tenant(viewer) as session:
        keys.revoke_key(session, viewer, parse_id(key_id))
    return flash.go_on(request, LIST, pages.say(request, "The key was revoked. It opens nothing any more."))
