"""A service's start in two parts: load what it needs, at once; begin, when what it comes after is ready.

The supervisor starts such a child early with one end of a pipe, whose number stands in the environment. The child
imports its world and then reads: a byte says begin. The end of the pipe says that the supervisor is gone.
"""

import contextlib
import os
import sys

VARIABLE = "MODELYARD_START_GATE"


def wait_for_start() -> None:
    """Return when the supervisor says so; at once for a process that was started without a gate."""
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return
    descriptor = int(number)
    word = os.read(descriptor, 1)
    os.close(descriptor)
    if not word:
        sys.exit("the supervisor is gone")


class Gate:
    """The supervisor's end."""

    def __init__(self) -> None:
        self.child_end, self._own_end = os.pipe()

    def close_child_end(self) -> None:
        """Once the child has it."""
        os.close(self.child_end)

    def open(self) -> None:
        """Let the child begin; again, and for one that has ended: no change."""
        if self._own_end >= 0:
            # One that has ended is seen by the supervisor's own look.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._own_end, b"!")
            self.discard()

    def discard(self) -> None:
        """The child has ended, or needs it no longer."""
        if self._own_end >= 0:
            os.close(self._own_end)
            self._own_end = -1
