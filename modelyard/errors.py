"""What a client may raise.

ModelyardError
├── ApiError            the API answered with a problem document
├── ConnectionFailed    nobody answered
├── JobDidNotComplete   a job that was waited for failed or was stopped
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


class JobDidNotComplete(ModelyardError):
    """A job that was waited for ended otherwise; `failure` holds class, reason, hint and evidence."""

    def __init__(self, name: str, status: str, reason: str, failure: dict[str, Any] | None) -> None:
        super().__init__(f"job '{name}' is {status}: {reason}")
        self.status = status
        self.reason = reason
        self.failure = failure


class TimedOut(ModelyardError):
    """Waiting took longer than allowed."""
