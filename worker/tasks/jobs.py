"""The job controller's task: lease due jobs, move a tenant's jobs one step, record in the same guarded transaction.

Jobs that run undisturbed are most of those due; they are told apart by a few questions about all of them, and need
neither a lease nor a step.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from backend.core import queue
from backend.core.db import Scope, act_as
from backend.core.queue import Lease
from backend.jobs.controller import step_many
from backend.jobs.following import postpone_undisturbed
from backend.jobs.models import Job
from worker.app import controls
from worker.context import ControlContext
from worker.leases import pass_over, until_done, work_in_groups

BATCH: Final = 400
LOOK: Final = 1000


@controls.register("jobs.control")
def control(context: ControlContext) -> int:
    """Look at every due job and move those that need it one step; returns how many it looked at."""
    handled = 0

    def look() -> tuple[int, int]:
        with context.database.unit_of_work() as session:
            return postpone_undisturbed(session, context.settings.control, limit=LOOK)

    def batch() -> bool:
        nonlocal handled
        handled += pass_over(look, size=LOOK)
        with context.database.unit_of_work() as session:
            leases = queue.claim(session, Job, lease_seconds=context.settings.control.lease_seconds, limit=BATCH)
        work_in_groups(context, Job, leases, move_group)
        handled += len(leases)
        return len(leases) == BATCH

    until_done(batch)
    return handled


def move_group(context: ControlContext, organization_id: UUID, leases: Sequence[Lease]) -> int:
    """One step for each job of one tenant whose lease still holds; returns how many. All or none is recorded."""
    with context.database.unit_of_work() as session:
        act_as(session, organization_id)
        held = queue.load_leased_many(session, Job, leases)
        due_at = step_many(session, Scope(organization_id), [job for job, _ in held], context.settings)
        for job, lease in held:
            queue.finish(job, lease, due_at=due_at[job.id])
        return len(held)


def move_one(context: ControlContext, lease: Lease) -> bool:
    """One job, one step, if the lease still holds. False = somebody else owns it."""
    return move_group(context, lease.organization_id, [lease]) == 1
