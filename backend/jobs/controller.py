"""The job controller: one step of jobs, inside the transaction of the leases' holder. The only writer of status."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.settings import Settings
from backend.jobs import states
from backend.jobs.following import follow
from backend.jobs.models import Job
from backend.jobs.placing import place


def step_many(session: Session, scope: Scope, jobs: Sequence[Job], settings: Settings) -> dict[UUID, datetime | None]:
    """Move a tenant's jobs as far as they can go now; returns when to look at each again, None = never.

    What is placed is followed first: an instance that one job leaves is there for the next.
    """
    due_at: dict[UUID, datetime | None] = {job.id: None for job in jobs}
    waiting = [job for job in jobs if job.status in (states.QUEUED, states.PROVISIONING)]
    for job in jobs:
        if job.status not in states.FINAL and job not in waiting:
            due_at[job.id] = follow(session, scope, job, settings)
    return due_at | place(session, scope, waiting)
