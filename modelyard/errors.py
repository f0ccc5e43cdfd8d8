"""What a client may raise.

ModelyardError
├── ApiError            the API answered with a problem document
├── ConnectionFailed    nobody answered
├── UnexpectedAnswer    somebody answered, but not as Modelyard's API does
├── BadAddress          an address or a key that cannot be one
├── JobDidNotComplete   a job that was waited for failed or was stopped
├── EndpointFailed      an endpoint that was waited for cannot come into service
├── NameNotFound        nothing has this id or name
├── NameAmbiguous       several things have this name; an id is needed
├── FileUnusable        a local file is not what the call needs
└── TimedOut            waiting took longer than allowed
"""

from typing import Any


class ModelyardError(Exception):
    """Root of the client's errors."""


class ApiError(ModelyardError):
    """A problem document (RFC 9457): HTTP status, stable code, sentence, way out."""

    def __init__(self, status: int, code: str, detail: str, hint: str | None, problem: dict[str, Any]) -> None:
        super().__init__(f"{detail} ({code}, HTTP {status})" + (f" — {hint}" if hint else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.problem = problem


class ConnectionFailed(ModelyardError):
    """Nobody answered at the address."""


class UnexpectedAnswer(ModelyardError):
    """Somebody answered at the address, but not as Modelyard's API does."""


class BadAddress(ModelyardError):
    """An address or a key that cannot be one."""


class JobDidNotComplete(ModelyardError):
    """A job that was waited for ended otherwise; `failure` holds class, reason, hint and evidence."""

    def __init__(self, name: str, status: str, reason: str, failure: dict[str, Any] | None) -> None:
        super().__init__(f"job '{name}' is {status}: {reason}")
        self.status = status
        self.reason = reason
        self.failure = failure


class EndpointFailed(ModelyardError):
    """An endpoint that was waited for failed."""

    def __init__(self, name: str, status: str, reason: str) -> None:
        super().__init__(f"endpoint '{name}' is {status}: {reason}")
        self.status = status
        self.reason = reason


class NameNotFound(ModelyardError):
    """Nothing of this kind has this id or name."""


class NameAmbiguous(ModelyardError):
    """Several things have this name."""


class FileUnusable(ModelyardError):
    """A local file is not what the call needs."""


class TimedOut(ModelyardError):
    """Waiting took longer than allowed."""
