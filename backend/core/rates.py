"""How many requests a credential may send: counted per process, in memory, in windows of a minute.

What is left is told with every answer in the headers of draft-ietf-httpapi-ratelimit-headers-10, and `Retry-After`
says when to come again (RFC 9110, section 10.2.3):

    RateLimit-Policy: "requests";q=6000;w=60
    RateLimit: "requests";r=5999;t=42
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core.auth import Principal
from backend.core.errors import RequestRateExceeded

WINDOW_SECONDS: Final = 60
_REMEMBERED: Final = 20_000
_LIMIT_SECONDS: Final = 60.0
"""How long an organization's own number is believed."""

ReadLimit = Callable[[Principal], int | None]
"""Reads an organization's own number; None = it has none."""


@dataclass(frozen=True)
class Allowance:
    """What a policy leaves: `quota` in `window` seconds, of which `remaining` until `reset` seconds from now."""

    policy: str
    quota: int
    window: int
    remaining: int
    reset: int

    def write(self, headers: MutableHeaders) -> None:
        """As headers of an answer."""
        headers["RateLimit-Policy"] = f'"{self.policy}";q={self.quota};w={self.window}'
        headers["RateLimit"] = f'"{self.policy}";r={self.remaining};t={self.reset}'


class RequestRates:
    """Counts requests by credential. `default` per minute, 0 = any number; `clock` gives monotonic seconds."""

    def __init__(self, default: int, read_limit: ReadLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._default = default
        self._read_limit = read_limit
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: OrderedDict[UUID, tuple[float, int]] = OrderedDict()
        self._limits: OrderedDict[UUID, tuple[float, int]] = OrderedDict()

    def known_limit(self, principal: Principal) -> int | None:
        """The number that holds, if it is known; else `learn` finds it out."""
        known = self._limits.get(principal.organization_id)
        return known[1] if known is not None and self._clock() - known[0] < _LIMIT_SECONDS else None

    def learn(self, principal: Principal) -> int:
        """Ask for the organization's own number: one statement, once a minute."""
        own = self._read_limit(principal)
        limit = self._default if own is None else own
        with self._lock:
            self._limits[principal.organization_id] = (self._clock(), limit)
            while len(self._limits) > _REMEMBERED:
                self._limits.popitem(last=False)
        return limit

    def spend(self, principal: Principal, limit: int) -> Allowance | None:
        """Count one request; what is left. None = any number. Raises RequestRateExceeded."""
        if limit == 0:
            return None
        now = self._clock()
        with self._lock:
            began, count = self._windows.get(principal.id, (now, 0))
            if now - began >= WINDOW_SECONDS:
                began, count = now, 0
            self._windows[principal.id] = (began, min(count + 1, limit + 1))
            self._windows.move_to_end(principal.id)
            while len(self._windows) > _REMEMBERED:
                self._windows.popitem(last=False)
        reset = max(1, int(began + WINDOW_SECONDS - now + 0.999))
        left = Allowance("requests", limit, WINDOW_SECONDS, max(0, limit - count - 1), reset)
        if count >= limit:
            over = RequestRateExceeded(
                f"this credential may send {limit} requests in a minute; come again in {reset} seconds",
                retry_after_seconds=reset,
            )
            over.allowance = left
            raise over
        return left


class RateHeaders:
    """ASGI middleware: answers to counted requests carry what is left (`scope["state"]["allowance"]`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def with_headers(message: Message) -> None:
            allowance = state.get("allowance")
            if message["type"] == "http.response.start" and allowance is not None:
                allowance.write(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, with_headers)
