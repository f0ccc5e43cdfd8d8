"""What keeps a browser session safe: response headers, cookies, CSRF tokens, safe redirects.

CSRF (OWASP's signed double-submit): a visitor gets a random HttpOnly cookie; the token in a form or
in htmx's header is HMAC-SHA256(secret, visitor cookie + session token). Another site can neither read
the token nor set it for a known session, and a token of one session is worthless in another.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_COOKIE = "modelyard_session"
VISITOR_COOKIE = "modelyard_visitor"

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
CONTENT_SECURITY_POLICY = "; ".join(f"{name} {value}" for name, value in _POLICY.items())
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, kw_only=True)
class CookiePolicy:
    """How long a session's cookie lives, and whether cookies are for HTTPS alone."""

    session_seconds: int = 12 * 3600
    secure: bool = False


class SecurityHeaders:
    """ASGI middleware: every answer of the dashboard carries the headers above."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, adding headers; answers that say nothing about caching are not stored."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


def visitor_of(request: Request) -> str:
    """The visitor's cookie; a new random one where there is none (`keep_visitor` then sets it)."""
    known = request.cookies.get(VISITOR_COOKIE) or getattr(request.state, "visitor", None)
    if not known:
        known = secrets.token_urlsafe(24)
        request.state.visitor = known
    return known


def csrf_token(request: Request, secret: bytes) -> str:
    """The token that this visitor's next POST must carry."""
    binding = f"{visitor_of(request)}\n{request.cookies.get(SESSION_COOKIE, '')}"
    return hmac.new(secret, binding.encode(), sha256).hexdigest()


def csrf_holds(request: Request, secret: bytes, token: str | None) -> bool:
    """Whether a POST was made from our own page."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site" or VISITOR_COOKIE not in request.cookies:
        return False
    return hmac.compare_digest(csrf_token(request, secret).encode(), (token or "").encode())


def set_cookie(request: Request, response: Response, name: str, value: str, *, max_age: int) -> None:
    """A cookie that scripts cannot read and other sites cannot send along; Secure over HTTPS."""
    policy: CookiePolicy = request.app.state.cookies
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="lax",
        secure=policy.secure or request.url.scheme == "https",
    )


def keep_visitor(request: Request, response: Response) -> None:
    """Set the visitor's cookie where this request made a new one."""
    made = getattr(request.state, "visitor", None)
    if made:
        set_cookie(request, response, VISITOR_COOKIE, made, max_age=30 * 86_400)


def safe_next(target: str | None) -> str:
    """A path on this site to go on to; anything else becomes the start page."""
    if not target or not target.startswith("/") or target.startswith(("//", "/\\")):
        return "/"
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or "\\" in target or not target.isprintable():
        return "/"
    return target
