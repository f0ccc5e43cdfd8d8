"""Slows guessing of passwords: attempts are counted before they are checked, per process, in memory.

Three sliding counts within one window: of an account from one address, of an account from anywhere, of an
address. A right password clears the first. With several API processes each keeps its own count.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock

from backend.core.rates import Allowance
from backend.identity.errors import TooManyAttempts

WINDOW_SECONDS = 300.0
PER_ACCOUNT_AND_ADDRESS = 10
PER_ACCOUNT = 100
PER_ADDRESS = 100
_REMEMBERED = 20_000  # counts kept at most; the oldest go first


class LoginLimiter:
    """Counts log-in attempts. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._attempts: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def attempt(self, email: str, address: str) -> None:
        """Count one attempt. Raises TooManyAttempts (429) with the seconds to wait."""
        account = email.strip().lower()
        limits = (
            ((account, address), PER_ACCOUNT_AND_ADDRESS),
            ((account, "*"), PER_ACCOUNT),
            (("*", address), PER_ADDRESS),
        )
        now = self._clock()
        with self._lock:
            counts = [(self._recent(key, now), limit) for key, limit in limits]
            waits = [WINDOW_SECONDS - (now - count[0]) for count, limit in counts if len(count) >= limit]
            if waits:
                seconds = int(max(waits)) + 1
                raise _over(seconds, max(limit for count, limit in counts if len(count) >= limit))
            for count, _ in counts:
                count.append(now)

    def succeeded(self, email: str, address: str) -> None:
        """The password was right: this account may be tried anew from this address."""
        with self._lock:
            self._attempts.pop((email.strip().lower(), address), None)

    def _recent(self, key: tuple[str, str], now: float) -> deque[float]:
        times = self._attempts.setdefault(key, deque())
        self._attempts.move_to_end(key)
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        while len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        return times


def _over(seconds: int, limit: int) -> TooManyAttempts:
    error = TooManyAttempts(f"too many log-in attempts; try again in {seconds} seconds", retry_after_seconds=seconds)
    error.allowance = Allowance("log-in", limit, int(WINDOW_SECONDS), 0, seconds)
    return error
