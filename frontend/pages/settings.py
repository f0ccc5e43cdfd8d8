"""Settings: the organization, the person who looks, and the tags in use. Members and keys have modules of their own."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.identity import service as identity
from backend.identity.errors import WrongCredentials
from backend.identity.schemas import PasswordChange
from backend.projects.repository import RECENT
from frontend import flash, security
from frontend.forms import Form, Typed, parse
from frontend.pages.common import Back, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.render import Renderer
from frontend.views import settings as views

router = APIRouter(prefix="/settings")

Word = Annotated[str, Query(max_length=500)]


@router.get("")
def show_settings(request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back) -> Response:
    """The organization and the person."""
    return _home(request, pages, platform, viewer, back, Form())


def _home(
    request: Request, pages: Renderer, platform: Services, viewer: Principal, back: Back, form: Form[Any]
) -> Response:
    with back.tenant(viewer) as session:
        me = views.read_me(session, viewer)
    code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "settings/home.html", framed(platform, viewer, me=me, form=form), status_code=code)


@router.post("/password", dependencies=[FromOurPage])
def change_password(
    request: Request, *, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Another password; the person's other sessions end. What was typed is not sent back."""
    form = parse(PasswordChange, typed)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                identity.change_password(
                    session,
                    back.security,
                    viewer,
                    token=request.cookies.get(security.SESSION_COOKIE, ""),
                    current=form.request.current_password,
                    new=form.request.new_password,
                )
        except WrongCredentials:
            form.errors["current_password"] = pages.say(request, "The current password is another.")
        except DomainError as error:
            form.refuse(error)
        else:
            said = pages.say(request, "Your password was changed. Your other sessions have ended.")
            return flash.go_on(request, "/settings", said)
    form.values = {}
    return _home(request, pages, platform, viewer, back, form)


@router.get("/tags")
def show_tags(
    request: Request,
    *,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    key: Word = "",
    value: Word = "",
) -> Response:
    """Tags in use; with a key, what carries the tag."""
    with back.tenant(viewer) as session:
        tags = views.read_tags(session, viewer.scope)
        carriers = views.read_carriers(session, viewer.scope, key, value) if key else []
    context = framed(
        platform,
        viewer,
        tags=tags,
        carriers=carriers,
        chosen=(key, value) if key else None,
        most_tags=views.MOST_TAGS,
        looked_at=f"{RECENT:,}",
        most_carriers=views.MOST_CARRIERS,
    )
    return pages.respond(request, "settings/tags.html", context)
