"""Facts of the fleet."""

from backend.core.errors import Conflict, InternalFact, Invalid, NotFound, Unauthorized


class InstanceTypeUnknown(Invalid):
    """There is no instance type of this name."""

    code = "instance_type_unknown"
    title = "Unknown instance type"
    remedy = "GET /api/v1/instance-types lists them"


class QuotaExceeded(InternalFact):
    """The organization's quota for this instance type is used up."""


class InstanceNotFound(NotFound):
    """No such instance in this organization."""

    code = "instance_not_found"
    title = "Instance not found"
    remedy = "GET /api/v1/instances lists your instances"


class InstanceTokenUnknown(Unauthorized):
    """The instance token belongs to no living instance: the agent should end."""

    code = "instance_token_unknown"
    title = "Unknown instance token"
    remedy = "end the agent: its instance is over"


class AssignmentNotFound(NotFound):
    """No such assignment on this instance."""

    code = "assignment_not_found"
    title = "Assignment not found"
    remedy = "sync, and work on the assignments that the answer names"


class StaleEpoch(Conflict):
    """The assignment's epoch is over: stop its processes and forget it."""

    code = "stale_epoch"
    title = "Stale epoch"
    remedy = "stop the assignment's processes and forget it"
