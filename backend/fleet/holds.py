"""Holds on instances and their end: with the last slice, and of a lost instance at its agent's last words."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.clock import database_now
from backend.core.db import Scope
from backend.fleet.metering import meter_hold
from backend.fleet.models import Hold, Instance
from backend.fleet.repository import FleetRepository


def end_hold_if_over(session: Session, scope: Scope, instance: Instance) -> bool:
    """Whether the instance is kept by a hold still; a hold whose time has come is ended."""
    hold = FleetRepository(session, scope).open_hold(instance.id)
    if hold is None:
        return False
    if hold.until_at > database_now(session) and instance.drain_requested_at is None:
        return True
    end_hold(session, scope, instance)
    return False


def end_hold(session: Session, scope: Scope, instance: Instance, *, lost: bool = False) -> None:
    """End the hold of the instance, if it has one, with its last slice; of a lost one at its agent's last words."""
    repository = FleetRepository(session, scope)
    hold = repository.open_hold(instance.id)
    if hold is not None:
        _end(session, scope, instance, hold, lost=lost)


def end_holds(session: Session, scope: Scope, instances: Sequence[Instance]) -> None:
    """The same for instances that get work now."""
    by_id: dict[UUID, Instance] = {instance.id: instance for instance in instances}
    for hold in FleetRepository(session, scope).open_holds(list(by_id)):
        _end(session, scope, by_id[hold.instance_id], hold, lost=False)


def _end(session: Session, scope: Scope, instance: Instance, hold: Hold, *, lost: bool) -> None:
    last_heard = FleetRepository(session, scope).last_heard(instance.id) if lost else None
    to_at = min(database_now(session), hold.until_at, *([] if last_heard is None else [last_heard]))
    meter_hold(session, scope, instance, hold, to_at=to_at, at_least_seconds=0)
    hold.ended_at = max(to_at, hold.billed_until or hold.started_at)
    session.flush()
