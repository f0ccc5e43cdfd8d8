"""Who asks with keys that are none: counted by the client's address and logged now and then."""

from worker.serving.log import log

LOG_SECONDS = 10.0
ADDRESSES = 1000
OTHERS = "others"


class RefusedKeys:
    """Refusals since the last lines, for at most ADDRESSES addresses; the rest count as OTHERS."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._logged_at = 0.0

    def count(self, address: str) -> None:
        """A request from this address came without a valid key."""
        if address not in self._counts and len(self._counts) >= ADDRESSES:
            address = OTHERS
        self._counts[address] = self._counts.get(address, 0) + 1

    def tick(self, now: float) -> None:
        """Called with the monotonic time: a line per address, at most every LOG_SECONDS."""
        if self._counts and now - self._logged_at > LOG_SECONDS:
            self._logged_at = now
            for address, count in self._counts.items():
                log("requests without a valid key", address=address, count=count)
            self._counts.clear()
