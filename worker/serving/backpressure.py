"""How much a replica process takes on: refused at once is better than answered too late, or never.

Two bounds, both judged before a body is parsed, so that refusing costs little. A lane whose waiting calls need longer
than `queue_seconds` by the measured cost of a batch takes no more (503). A key that has `key_calls` calls under way in
this process takes turns with itself, not with others (429). What is taken on is answered.
"""

import math

from worker.serving.batching import Lane
from worker.serving.errors import RequestError


class Backpressure:
    """The bounds of one process, and the calls under way of each key."""

    def __init__(self) -> None:
        self.queue_seconds = math.inf
        self.key_calls = 0
        self._under_way: dict[str, int] = {}

    def judge(self, key_id: str, lane: Lane) -> None:
        """Raise RequestError 429 or 503 where a call of this key cannot be taken on; probes ("") always can."""
        if not key_id:
            return
        if 0 < self.key_calls <= self._under_way.get(key_id, 0):
            raise RequestError(
                429, f"this key has {self.key_calls} calls under way, as many as it may", (("retry-after", "1"),)
            )
        seconds = lane.expected_seconds
        if seconds > self.queue_seconds:
            raise RequestError(
                503,
                f"more calls wait than can be answered in {self.queue_seconds:g} s",
                (("retry-after", str(max(1, math.ceil(seconds - self.queue_seconds)))),),
            )

    def began(self, key_id: str) -> None:
        """A call was taken on."""
        self._under_way[key_id] = self._under_way.get(key_id, 0) + 1

    def ended(self, key_id: str) -> None:
        """A call that was taken on is answered."""
        left = self._under_way.get(key_id, 0) - 1
        if left > 0:
            self._under_way[key_id] = left
        else:
            self._under_way.pop(key_id, None)
