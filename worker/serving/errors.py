"""Errors of the data plane, each with the status it is answered with.

- RequestError: answered as `{"error": message}`
  - GiveBackError: not answered here, the gateway has to place the connection anew
  - RelayedError: a replica's own refusal, passed on
- ReplicaError: the process cannot serve at all
"""

from typing import Literal


class RequestError(Exception):
    """A request that is refused. `status` is an HTTP status, `headers` are added to the answer."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


class GiveBackError(RequestError):
    """The request is not this replica's: `reason` e = another endpoint, k = a key it does not know.

    Status and message are the answer where there is no gateway to give the connection to (a probe).
    """

    def __init__(self, reason: Literal[b"e", b"k"], status: int, message: str) -> None:
        super().__init__(status, message)
        self.reason = reason


class RelayedError(RequestError):
    """What a replica refused, passed on with its own status and sentence."""


class ReplicaError(Exception):
    """A replica process cannot serve: a missing file, a model that does not load."""
