"""What a person is told on the next page: "Endpoint digits was created." as a toast, once.

After a POST that answers with a redirect the sentence travels in a short-lived cookie; `Renderer.respond` shows and
removes it. An answer to htmx carries it in the header `X-Toast`. It is shown as text, never as HTML.
"""

from http import HTTPStatus
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from frontend import security

COOKIE = "modelyard_said"
SECONDS = 60
MAX_CHARACTERS = 300


def go_on(request: Request, path: str, said: str = "") -> Response:
    """To the next page, where `said` is told; for htmx, a whole new page too."""
    if "HX-Request" in request.headers:
        response = Response(headers={"HX-Redirect": path})
    else:
        response = RedirectResponse(path, HTTPStatus.SEE_OTHER)
    if said:
        security.set_cookie(request, response, COOKIE, quote(said[:MAX_CHARACTERS]), max_age=SECONDS)
    return response


def tell(response: Response, said: str) -> Response:
    """The same answer to htmx, with a toast."""
    response.headers["X-Toast"] = quote(said[:MAX_CHARACTERS])
    return response


def told(request: Request) -> str:
    """What the page that is rendered now has to say."""
    return unquote(request.cookies.get(COOKIE, ""))[:MAX_CHARACTERS]


def forget(request: Request, response: Response) -> None:
    """Say it only once."""
    if COOKIE in request.cookies:
        response.delete_cookie(COOKIE, path="/")
