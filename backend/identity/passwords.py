"""Passwords: argon2id (RFC 9106), checked at equal cost whether or not the account exists."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from backend.identity.errors import Busy

_PATIENCE_SECONDS = 2.0
_AT_ONCE = 4  # each check takes tens of MiB: more at once would be a way to fill the memory


class Passwords:
    """Hashes and checks. `memory_kib` and `iterations` are the cost of one check."""

    def __init__(self, *, memory_kib: int, iterations: int) -> None:
        self._hasher = PasswordHasher(time_cost=iterations, memory_cost=memory_kib, parallelism=1)
        self._gate = BoundedSemaphore(_AT_ONCE)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe(32))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the few turns at hashing. Raises Busy (503).

        Take it before the first query: who waits for a turn must not keep a connection from others.
        """
        if not self._gate.acquire(timeout=_PATIENCE_SECONDS):
            raise Busy("too many log-ins at this moment", retry_after_seconds=1)
        try:
            yield
        finally:
            self._gate.release()

    def hash(self, password: str) -> str:
        """What is stored of a password."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password. `stored` None = no such account: False, after the same work."""
        try:
            return self._hasher.verify(stored or self._nobodys, password) and stored is not None
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def outdated(self, stored: str) -> bool:
        """Whether a stored hash has another cost than today's."""
        return self._hasher.check_needs_rehash(stored)


def new_password() -> str:
    """An initial password: 120 random bits in letters one can type."""
    return secrets.token_urlsafe(15)
