"""Log in, log out, choose a language."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.core.errors import TooMany
from frontend import i18n, security
from frontend.pages.common import FromOurPage, Pages, Services

router = APIRouter()


@router.get("/login")
def show_login(request: Request, pages: Pages, platform: Services, next: str = "/") -> Response:  # noqa: A002 - the URL's word
    """The log-in page; who is logged in already goes on."""
    token = request.cookies.get(security.SESSION_COOKIE)
    if token and platform.identify(token):
        return RedirectResponse(security.safe_next(next), HTTPStatus.SEE_OTHER)
    context = {"email": "", "error": None, "next": security.safe_next(next)}
    return pages.respond(request, "auth/login.html", context)


@router.post("/login", dependencies=[FromOurPage])
def log_in(
    request: Request,
    *,
    pages: Pages,
    platform: Services,
    email: Annotated[str, Form(max_length=320)] = "",
    password: Annotated[str, Form(max_length=1024)] = "",
    next: Annotated[str, Form(max_length=2048)] = "/",  # noqa: A002 - the form's word
) -> Response:
    """Start a session and go on; or the page again, with what was typed and what is wrong."""
    error = "Enter your email and your password."
    if email.strip() and password:
        try:
            token = platform.log_in(email.strip(), password, request.client.host if request.client else "")
        except TooMany as refusal:
            return _login_again(request, pages, email, next, pages.sentence(request, str(refusal)))
        if token is not None:
            response = RedirectResponse(security.safe_next(next), HTTPStatus.SEE_OTHER)
            security.set_cookie(
                request,
                response,
                security.SESSION_COOKIE,
                token,
                max_age=request.app.state.cookies.session_seconds,
            )
            return response
        error = "Email and password do not match."
    return _login_again(request, pages, email, next, pages.text(request, error))


def _login_again(request: Request, pages: Pages, email: str, target: str, error: str) -> Response:
    context = {"email": email, "error": error, "next": security.safe_next(target)}
    return pages.respond(request, "auth/login.html", context, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


@router.post("/logout", dependencies=[FromOurPage])
def log_out(request: Request, platform: Services) -> Response:
    """End the session."""
    token = request.cookies.get(security.SESSION_COOKIE)
    if token:
        platform.log_out(token)
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    response.delete_cookie(security.SESSION_COOKIE, path="/", httponly=True, samesite="lax")
    return response


@router.post("/language", dependencies=[FromOurPage])
def choose_language(
    request: Request,
    language: Annotated[str, Form(max_length=32)] = "en",
    next: Annotated[str, Form(max_length=2048)] = "/",  # noqa: A002 - the form's word
) -> Response:
    """Keep a language in a cookie and go back to the page."""
    response = RedirectResponse(security.safe_next(next), HTTPStatus.SEE_OTHER)
    if language in i18n.LANGUAGES:
        security.set_cookie(request, response, i18n.LANGUAGE_COOKIE, language, max_age=31_536_000)
    return response
