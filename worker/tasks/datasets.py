"""Control task of datasets: uploads nobody finished, and parts that a crash left behind.

Nothing waits for it, so it looks once a minute, and at all stored parts once an hour.
"""

import time

from backend.datasets import service
from worker.app import controls
from worker.context import ControlContext

EXPIRY_SECONDS = 60.0
ORPHANS_SECONDS = 3600.0


class Rhythm:
    """When this process does something next; the first time at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time; if so, the next time is set."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


_expiry, _orphans = Rhythm(EXPIRY_SECONDS), Rhythm(ORPHANS_SECONDS)


@controls.register("datasets.control")
def control(context: ControlContext) -> int:
    """End expired uploads and remove orphaned parts, when it is time; returns the uploads handled."""
    handled = service.expire_uploads(context.database, context.storage) if _expiry.due() else 0
    if _orphans.due():
        handled += service.remove_orphans(context.database, context.storage)
        handled += service.remove_orphans_of_imports(context.database, context.storage)
    return handled
