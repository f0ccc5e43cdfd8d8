"""The error tree of the control plane.

    DomainError                 status, stable code, one plain sentence, optional way out
    ├── Invalid          422    the request is understood and cannot be meant
    ├── Unauthorized     401    no credential, or none that counts
    ├── Forbidden        403    the credential may not do this
    ├── NotFound         404    absent or somebody else's: the two look alike
    ├── Conflict         409    the state of the resource does not allow it
    ├── TooLarge         413    more bytes than allowed
    ├── TooMany          429    a quota or rate is used up
    ├── Unavailable      503    something outside is down; trying again helps
    └── NoSpace          507    there is no room to keep it; trying again helps once somebody has made some

A domain subclasses these as facts (`class JobAlreadyFinished(Conflict)`) with a `code` of its own.
One handler per surface turns them into a problem document (RFC 9457), a page or a toast.
"""

from typing import Any, ClassVar


class DomainError(Exception):
    """A fact that stops a use case. `detail` is a sentence for people, `extra` data for programs."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "domain_error"
    title: ClassVar[str] = "The request could not be carried out"

    def __init__(self, detail: str, *, hint: str | None = None, **extra: Any) -> None:  # noqa: ANN401 - JSON values of a problem document
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.extra = extra


class Invalid(DomainError):
    """The request is understood and cannot be meant."""

    status = 422
    code = "invalid"
    title = "The request is not valid"


class Unauthorized(DomainError):
    """No credential, or none that counts."""

    status = 401
    code = "unauthorized"
    title = "Authentication is required"


class Forbidden(DomainError):
    """The credential may not do this."""

    status = 403
    code = "forbidden"
    title = "Not allowed"


class NotFound(DomainError):
    """Absent or somebody else's: the two look alike."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(DomainError):
    """The state of the resource does not allow it."""

    status = 409
    code = "conflict"
    title = "Conflict"


class TooLarge(DomainError):
    """More bytes than allowed."""

    status = 413
    code = "too_large"
    title = "Too large"


class TooMany(DomainError):
    """A quota or rate is used up."""

    status = 429
    code = "too_many"
    title = "Too many"


class Unavailable(DomainError):
    """Something outside is down; trying again helps."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"


class NoSpace(DomainError):
    """There is no room to keep it."""

    status = 507
    code = "no_space"
    title = "Out of space"
