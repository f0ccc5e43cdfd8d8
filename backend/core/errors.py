"""The error tree of the control plane.

    DomainError                 status, stable code, title, one plain sentence, a way out
    ├── Invalid          422    the request is understood and cannot be meant
    ├── Unauthorized     401    no credential, or none that counts
    ├── Forbidden        403    the credential may not do this
    ├── NotFound         404    absent or somebody else's: the two look alike
    ├── MethodNotAllowed 405    the address exists, the method does not
    ├── Conflict         409    the state of the resource does not allow it
    ├── TooLarge         413    more bytes than allowed
    ├── TooMany          429    a quota or rate is used up
    ├── InternalError    500    our fault: logged, nothing changed
    ├── Unavailable      503    something outside is down; trying again helps
    └── NoSpace          507    there is no room to keep it; trying again helps once somebody has made some

A domain subclasses these as facts (`class JobAlreadyFinished(Conflict)`) with a `code` of its own.
One handler per surface turns them into a problem document (RFC 9457), a page or a toast. A class without a `code` of
its own is never raised; every code has a request that causes it (`tests/catalogue`, `docs/reference/errors.md`).

What stops a use case that no request reaches (a controller's, an operator's) is an `InternalFact` and has no code.
"""

from typing import Any, ClassVar


class InternalFact(Exception):
    """What stops a use case of the control plane itself; never an answer to a request."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class DomainError(Exception):
    """A fact that stops a use case. `detail` is a sentence for people, `extra` data for programs.

    `hint` is the way out, where this case has a better one than its class (`remedy`).
    """

    status: ClassVar[int] = 400
    code: ClassVar[str]
    title: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, detail: str, *, hint: str | None = None, **extra: Any) -> None:  # noqa: ANN401 - JSON values of a problem document
        super().__init__(detail)
        self.detail = detail
        self.hint = hint or self.remedy
        self.extra = extra


class Invalid(DomainError):
    """The request is understood and cannot be meant."""

    status = 422


class InvalidRequest(Invalid):
    """A field, parameter or body is not what the route takes. `errors`: [{field, message}]."""

    code = "invalid_request"
    title = "The request is not valid"
    remedy = "GET /api/v1/openapi.json says what each route takes"


class InvalidValue(Invalid):
    """The database cannot hold a value."""

    code = "invalid_value"
    title = "A value cannot be stored"
    remedy = "send text without NUL characters and numbers within 64 bits"


class Unauthorized(DomainError):
    """No credential, or none that counts."""

    status = 401
    code = "unauthorized"
    title = "Authentication is required"
    remedy = "send `Authorization: Bearer <API key>`, or log in"


class Forbidden(DomainError):
    """The credential may not do this."""

    status = 403
    code = "forbidden"
    title = "Not allowed"
    remedy = "ask an owner or admin of the organization"


class CrossSiteRequest(Forbidden):
    """A browser's request that changes something and does not prove that our own page sent it."""

    code = "cross_site_request"
    title = "Cross-site request refused"
    remedy = "send an `X-Requested-With` header from your own page, or use an API key"


class NotFound(DomainError):
    """Absent or somebody else's: the two look alike."""

    status = 404


class RouteNotFound(NotFound):
    """There is nothing at this address."""

    code = "not_found"
    title = "Not found"
    remedy = "GET /api/v1/openapi.json lists every address"


class MethodNotAllowed(DomainError):
    """The address exists, the method does not; `Allow` names those that do."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"
    remedy = "use a method that the `Allow` header names"


class Conflict(DomainError):
    """The state of the resource does not allow it."""

    status = 409


class ConflictingChange(Conflict):
    """Somebody else changed at the same moment what this request rests on."""

    code = "conflicting_change"
    title = "Conflicting change"
    remedy = "read it again and retry"


class TooLarge(DomainError):
    """More bytes than allowed."""

    status = 413
    code = "too_large"
    title = "Too large"
    remedy = "send less at once: files go up in parts"


class TooMany(DomainError):
    """A quota or rate is used up. `allowance`: what the answer's headers say of it (`core.rates.Allowance`)."""

    status = 429
    allowance: Any = None


class RequestRateExceeded(TooMany):
    """The credential sent more requests in a minute than it may."""

    code = "request_rate_exceeded"
    title = "Too many requests"
    remedy = "wait as long as `Retry-After` says; `RateLimit` tells how many are left before that happens"


class InternalError(DomainError):
    """Our fault: it was logged, nothing was changed."""

    status = 500
    code = "internal_error"
    title = "Internal error"
    remedy = "try again; if it stays, tell whoever runs the platform when it happened"


class Unavailable(DomainError):
    """Something outside is down; trying again helps."""

    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"
    remedy = "try again in some seconds"


class NoSpace(DomainError):
    """There is no room to keep it."""

    status = 507
    code = "no_space"
    title = "Out of space"
    remedy = "make room where the platform keeps its files, then try again"
