"""Facts of the fleet."""

from backend.core.errors import Conflict, Invalid, NotFound, TooMany, Unauthorized


class InstanceTypeUnknown(Invalid):
    """There is no instance type of this name."""

    code = "instance_type_unknown"
    title = "Unknown instance type"


class QuotaExceeded(TooMany):
    """The organization's quota for this instance type is used up."""

    code = "quota_exceeded"
    title = "Quota exceeded"


class InstanceNotFound(NotFound):
    """No such instance in this organization."""

    code = "instance_not_found"
    title = "Instance not found"


class InstanceTokenUnknown(Unauthorized):
    """The instance token belongs to no living instance: the agent should end."""

    code = "instance_token_unknown"
    title = "Unknown instance token"


class AssignmentNotFound(NotFound):
    """No such assignment on this instance."""

    code = "assignment_not_found"
    title = "Assignment not found"


class StaleEpoch(Conflict):
    """The assignment's epoch is over: stop its processes and forget it."""

    code = "stale_epoch"
    title = "Stale epoch"
