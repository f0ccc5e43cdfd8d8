"""What a patient integrator does while the platform is being broken: ask again, never twice for the same thing."""

import time
from collections.abc import Callable
from typing import TypeVar

from modelyard.errors import ApiError, ConnectionFailed, UnexpectedAnswer

T = TypeVar("T")
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 90.0


class Red(Exception):
    """Something is not as it must be; the message says what."""


def eventually(what: str, look: Callable[[], T | None], *, seconds: float = 60.0) -> T:
    """The first answer of `look` that is neither None nor False. Raises Red naming `what`."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > until:
            raise Red(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL_SECONDS)


def must(true: object, otherwise: str) -> None:
    """Raise Red unless it is true."""
    if not true:
        raise Red(otherwise)


def patiently(call: Callable[[], T], *, taken: Callable[[ApiError], T] | None = None) -> T:
    """The answer of an API call, asked again while nobody answers, or answers that it cannot now.

    `taken`: what a Conflict means on a later try: an earlier one was carried out, only its answer was lost.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    tries = 0
    while True:
        tries += 1
        try:
            return call()
        except (ConnectionFailed, UnexpectedAnswer) as error:
            last: Exception = error
        except ApiError as error:
            if error.status == 409 and tries > 1 and taken is not None:
                return taken(error)
            if error.status < 500:
                raise
            last = error
        if time.monotonic() > until:
            raise Red(f"the API did not answer for {PATIENCE_SECONDS:.0f} s: {last}")
        time.sleep(0.3)
