"""The endpoint controller's task: lease due endpoints, move each one step, then publish the routing table."""

from typing import Final

from backend.core import queue
from backend.core.db import Scope, act_as
from backend.core.queue import Lease
from backend.endpoints import routing
from backend.endpoints.controller import step
from backend.endpoints.models import Endpoint
from worker.app import controls
from worker.context import ControlContext
from worker.leases import work_through

BATCH: Final = 50


@controls.register("endpoints.control")
def control(context: ControlContext) -> int:
    """Move every due endpoint one step and rebuild the routes; returns how many endpoints it moved."""
    with context.database.unit_of_work() as session:
        leases = queue.claim(session, Endpoint, lease_seconds=context.settings.control.lease_seconds, limit=BATCH)
    work_through(context, Endpoint, leases, move_one)
    with context.database.unit_of_work() as session:
        routing.publish_routes(session)
    return len(leases)


def move_one(context: ControlContext, lease: Lease) -> bool:
    """One endpoint, one step, if the lease still holds. False = somebody else owns it."""
    with context.database.unit_of_work() as session:
        known = routing.known_to_gateways(session)
        act_as(session, lease.organization_id)
        endpoint = queue.load_leased(session, Endpoint, lease)
        if endpoint is None:
            return False
        scope = Scope(lease.organization_id)
        due_at = step(session, scope, endpoint, context.settings, known=known)
        queue.finish(endpoint, lease, due_at=due_at)
        return True
