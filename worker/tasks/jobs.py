"""The job controller's task: lease due jobs, move each one step, record in the same guarded transaction."""

from typing import Final

from backend.core import queue
from backend.core.db import Scope, act_as
from backend.core.queue import Lease
from backend.jobs.controller import step
from backend.jobs.models import Job
from worker.app import controls
from worker.context import ControlContext
from worker.leases import work_through

BATCH: Final = 50


@controls.register("jobs.control")
def control(context: ControlContext) -> int:
    """Move every due job one step; returns how many."""
    with context.database.unit_of_work() as session:
        leases = queue.claim(session, Job, lease_seconds=context.settings.control.lease_seconds, limit=BATCH)
    return work_through(context, Job, leases, move_one)


def move_one(context: ControlContext, lease: Lease) -> bool:
    """One job, one step, if the lease still holds. False = somebody else owns it."""
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        job = queue.load_leased(session, Job, lease)
        if job is None:
            return False
        due_at = step(session, Scope(lease.organization_id), job, context.settings)
        queue.finish(job, lease, due_at=due_at)
        return True
