"""What every page's handler needs: the renderer, the platform, the viewer, and a POST's CSRF check."""

from typing import Annotated, Any

from fastapi import Depends, Form, Header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from backend.core.auth import Principal
from frontend import security
from frontend.backstage import Backstage
from frontend.render import Renderer
from frontend.views import Platform


class NotLoggedInError(Exception):
    """The page needs a session and the request has none that is valid."""


def get_renderer(request: Request) -> Renderer:
    """The dashboard's renderer."""
    renderer: Renderer = request.app.state.renderer
    return renderer


def get_platform(request: Request) -> Platform:
    """Where view models come from."""
    platform: Platform = request.app.state.platform
    return platform


def get_backstage(request: Request) -> Backstage:
    """The domains' services, for rooms that ask them themselves."""
    backstage: Backstage = request.app.state.backstage
    return backstage


Pages = Annotated[Renderer, Depends(get_renderer)]
Services = Annotated[Platform, Depends(get_platform)]
Back = Annotated[Backstage, Depends(get_backstage)]


def get_viewer(request: Request, platform: Services) -> Principal:
    """Whoever is logged in; raises NotLoggedInError where nobody is."""
    token = request.cookies.get(security.SESSION_COOKIE)
    viewer = platform.identify(token) if token else None
    if viewer is None:
        raise NotLoggedInError
    return viewer


def require_csrf(
    request: Request,
    pages: Pages,
    csrf_token: Annotated[str | None, Form()] = None,
    x_csrf_token: Annotated[str | None, Header()] = None,
) -> None:
    """Refuse a POST that does not come from our own page (403). Every POST route depends on this."""
    if not security.csrf_holds(request, pages.secret, x_csrf_token or csrf_token):
        raise HTTPException(403, "This page was open for too long. Reload it and try again.")


LoggedIn = Annotated[Principal, Depends(get_viewer)]
FromOurPage = Depends(require_csrf)


def framed(platform: Platform, viewer: Principal, **context: Any) -> dict[str, Any]:  # noqa: ANN401 - template context
    """The context of a page inside the shell."""
    return {"viewer": viewer, "shell": platform.shell(viewer), **context}
