"""Facts about identity."""

from backend.core.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthorized, Unavailable


class NotAuthenticated(Unauthorized):
    """No credential, or none that counts."""

    code = "unauthorized"


class WrongCredentials(Unauthorized):
    """E-mail and password do not match; which of the two is not said."""

    code = "wrong_credentials"
    title = "E-mail and password do not match"


class TooManyAttempts(TooMany):
    """Too many failed log-ins from one address or for one account."""

    code = "too_many_attempts"
    title = "Too many attempts"


class CrossSiteRequest(Forbidden):
    """A browser's request that changes something and does not prove that our own page sent it."""

    code = "cross_site_request"
    title = "Cross-site request refused"


class RoleExceedsYours(Forbidden):
    """Nobody gives what they do not have."""

    code = "role_exceeds_yours"
    title = "Role exceeds yours"


class ApiKeyNotFound(NotFound):
    """No such API key in this organization."""

    code = "api_key_not_found"
    title = "API key not found"


class MemberNotFound(NotFound):
    """No such member in this organization."""

    code = "member_not_found"
    title = "Member not found"


class AlreadyMember(Conflict):
    """The address belongs to a member."""

    code = "already_member"
    title = "Already a member"


class EmailTaken(Conflict):
    """The address has an account on this platform, outside this organization."""

    code = "email_taken"
    title = "E-mail address taken"


class LastOwner(Conflict):
    """An organization keeps at least one owner."""

    code = "last_owner"
    title = "Last owner"


class ExpiryInThePast(Invalid):
    """A key that would be expired at birth."""

    code = "expiry_in_the_past"


class Busy(Unavailable):
    """All turns at hashing passwords are taken."""

    code = "busy"
