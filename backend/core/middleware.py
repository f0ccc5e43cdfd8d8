"""What every HTTP answer and every request body passes: security headers and a size limit. Plain ASGI."""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.errors import InvalidRequest, TooLarge
from backend.core.http import problem_of

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Adds the headers above to every answer that does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class BodyTooLarge(HTTPException):
    """Raised while a body is read, when it grows past its limit. FastAPI lets an HTTPException pass."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is larger than {limit} bytes")


class BodyLimit:
    """Refuses bodies over `limit` bytes: by Content-Length before reading, else while reading.

    `exceptions`: (pattern of the whole path, limit in bytes), the first match counts; for routes that stream.
    """

    def __init__(self, app: ASGIApp, *, limit: int, exceptions: Sequence[tuple[re.Pattern[str], int]]) -> None:
        self._app = app
        self._limit = limit
        self._exceptions = tuple(exceptions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for path, size in self._exceptions if path.fullmatch(scope["path"])), self._limit)
        declared = Headers(scope=scope).get("content-length", "0")
        # Servers refuse a malformed length themselves; an ASCII digit check keeps int() from raising here.
        if not (declared.isascii() and declared.isdigit()):
            await problem_of(InvalidRequest("Content-Length is no number"))(scope, receive, send)
            return
        if len(declared) > len(str(limit)) or int(declared) > limit:
            await _refuse(limit, scope, receive, send)
            return
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, _counted(receive, limit), note_start)
        except BodyTooLarge:
            if started:
                raise
            await _refuse(limit, scope, receive, send)


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def count() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLarge(limit)
        return message

    return count


async def _refuse(limit: int, scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem_of(TooLarge(f"the body is larger than {limit} bytes", limit_bytes=limit))
    answer.headers["Connection"] = "close"
    await answer(scope, receive, send)
