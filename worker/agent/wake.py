"""How threads and signal handlers wake the sync loop: a lock would deadlock in a signal handler, an eventfd cannot."""

import os
import select


class WakeLine:
    """`ring` from anywhere; `wait` in the loop."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """For `select`: readable once rung."""
        return self._descriptor

    def close(self) -> None:
        """Give the descriptor back; nobody may ring any more."""
        os.close(self._descriptor)

    def ring(self) -> None:
        """Wake the loop, now or at its next wait."""
        os.eventfd_write(self._descriptor, 1)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a ring or the timeout; True if it rang."""
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, timeout_seconds))
        if ready:
            os.eventfd_read(self._descriptor)
        return bool(ready)
