"""Facts of the job engine."""

from backend.core.errors import Conflict, Invalid, NotFound


class JobNotFound(NotFound):
    """No such job in this organization."""

    code = "job_not_found"
    title = "Job not found"


class JobNameTaken(Conflict):
    """Another job of the organization has this name."""

    code = "job_name_taken"
    title = "Job name taken"


class JobAlreadyFinished(Conflict):
    """The job has ended; there is nothing to stop."""

    code = "job_already_finished"
    title = "Job already finished"


class JobKindUnknown(Invalid):
    """There is no job kind of this name."""

    code = "job_kind_unknown"
    title = "Unknown job kind"


class ParametersInvalid(Invalid):
    """The kind does not take these parameters."""

    code = "parameters_invalid"
    title = "Invalid parameters"


class InputInvalid(Invalid):
    """The kind does not take these inputs."""

    code = "input_invalid"
    title = "Invalid input"


class ResultUnusable(Exception):
    """The job's result lacks what its kind needs: the job fails with class platform."""
