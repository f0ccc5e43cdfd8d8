"""Facts about identity."""

from backend.core.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthorized, Unavailable


class WrongCredentials(Unauthorized):
    """E-mail and password do not match; which of the two is not said."""

    code = "wrong_credentials"
    title = "E-mail and password do not match"
    remedy = "type both again, or ask an owner of the organization for a new account"


class TooManyAttempts(TooMany):
    """Too many failed log-ins from one address or for one account."""

    code = "too_many_attempts"
    title = "Too many attempts"
    remedy = "wait as long as `Retry-After` says"


class RoleExceedsYours(Forbidden):
    """Nobody gives what they do not have."""

    code = "role_exceeds_yours"
    title = "Role exceeds yours"
    remedy = "choose a narrower role"


class ApiKeyNotFound(NotFound):
    """No such API key in this organization."""

    code = "api_key_not_found"
    title = "API key not found"
    remedy = "GET /api/v1/api-keys lists your keys"


class MemberNotFound(NotFound):
    """No such member in this organization."""

    code = "member_not_found"
    title = "Member not found"
    remedy = "GET /api/v1/members lists the members"


class AlreadyMember(Conflict):
    """The address belongs to a member."""

    code = "already_member"
    title = "Already a member"
    remedy = "PATCH /api/v1/members/{user_id} changes a member's role"


class EmailTaken(Conflict):
    """The address has an account on this platform, outside this organization."""

    code = "email_taken"
    title = "E-mail address taken"
    remedy = "invite another address"


class LastOwner(Conflict):
    """An organization keeps at least one owner."""

    code = "last_owner"
    title = "Last owner"
    remedy = "make somebody else an owner first"


class ExpiryInThePast(Invalid):
    """A key that would be expired at birth."""

    code = "expiry_in_the_past"
    title = "Expiry in the past"
    remedy = "choose a later time, or leave `expires_at` out"


class Busy(Unavailable):
    """All turns at hashing passwords are taken."""

    code = "busy"
    title = "Too busy"
    remedy = "send the request again in a second"
