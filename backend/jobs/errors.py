"""Facts of the job engine."""

from backend.billing.errors import SpendingOnHold
from backend.core.errors import Conflict, InternalFact, NotFound
from backend.fleet.errors import InstanceTypeUnknown
from backend.projects.errors import ProjectNotFound


class JobNotFound(NotFound):
    """No such job in this organization."""

    code = "job_not_found"
    title = "Job not found"
    remedy = "GET /api/v1/jobs lists your jobs"


class JobNameTaken(Conflict):
    """Another job of the organization has this name."""

    code = "job_name_taken"
    title = "Job name taken"
    remedy = "choose another name: job names are unique per organization"


class JobAlreadyFinished(Conflict):
    """The job has ended; there is nothing to stop."""

    code = "job_already_finished"
    title = "Job already finished"
    remedy = "nothing is left to do; submit a new job to run it again"


class JobKindUnknown(InternalFact):
    """This build has no kind of this name."""


class ResultUnusable(InternalFact):
    """The job's result lacks what its kind needs: the job fails with class platform."""


SUBMITTED = (ProjectNotFound, InstanceTypeUnknown, SpendingOnHold, JobNameTaken)
"""What stops the submission of a job of any kind."""
