"""The instance controller: lease due instances, ask their provider, record. And the reconciler (★5).

Each look has three parts: see (a transaction), act (no session open; every call to the outside is bounded), record (a
transaction, guarded by the lease). A controller that dies between any two leaves a row that the next one goes on from:
the intent and the hash of the machine's token are committed before the provider hears of it, and the provider knows a
machine by its tag. Whoever waits for the instance is told after the record is committed, in a transaction of its own:
their controllers lock their own row first and the instance second, so telling them from here would be the other way
round. A notice that is lost costs seconds; they look by themselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from backend.core import queue
from backend.core.clock import database_now
from backend.core.crypto import hash_token, new_token
from backend.core.db import Scope, act_as
from backend.core.queue import Lease
from backend.fleet import broker_users, service, states, subjects
from backend.fleet.models import Instance
from backend.fleet.provisioners import CapacityError, Machine, ProviderError, Provisioner
from backend.fleet.provisioners.registry import provisioner_for, provisioners
from backend.fleet.repository import FleetRepository, living_instances
from backend.fleet.utilisation import forget_utilisation
from worker.app import controls
from worker.context import ControlContext
from worker.leases import pass_over, until_done, work_through
from worker.undisturbed import LOOK, many_are_due, postpone_undisturbed, running_machines

log = structlog.get_logger(__name__)

BATCH: Final = 50
IDLE_SECONDS: Final = 10.0
LOOK_AGAIN: Final = timedelta(seconds=1)
LOOK_LATER: Final = timedelta(seconds=5)
MAX_CREATE_ATTEMPTS: Final = 5
RECONCILE_SECONDS: Final = 15.0
FORGET_SECONDS: Final = 600.0
FORGET_BATCH: Final = 10_000

Decide = Callable[[Session, Instance], datetime | None]
"""Changes the leased row and says when to look again; None = never."""


@dataclass(frozen=True)
class Seen:
    """What the controller saw of an instance before it acts."""

    status: str
    tag: str
    provider: str
    instance_type: str
    launched: bool
    wanted: bool


@controls.register("fleet.control")
def control(context: ControlContext) -> int:
    """Look at every due instance and move those that need it one step; returns how many it looked at."""
    handled = 0
    running = running_machines(context) if many_are_due(context) else None

    def batch() -> bool:
        nonlocal handled
        if running is not None:
            look = partial(postpone_undisturbed, context, running, seconds=LOOK_LATER.total_seconds())
            handled += pass_over(look, size=LOOK)
        with context.database.unit_of_work() as session:
            leases = queue.claim(session, Instance, lease_seconds=context.settings.control.lease_seconds, limit=BATCH)
        work_through(context, Instance, leases, step)
        handled += len(leases)
        return len(leases) == BATCH

    until_done(batch)
    return handled


def step(context: ControlContext, lease: Lease) -> None:
    """One instance: look, act with no session open, record if the lease still holds."""
    seen = _see(context, lease)
    if seen is None:
        return
    try:
        if seen.status in (states.REQUESTED, states.PROVISIONING):
            _provision(context, lease, seen)
        elif seen.status == states.READY:
            _keep(context, lease, seen)
        elif seen.status == states.TERMINATING:
            _terminate(context, lease, seen)
    except ProviderError as error:
        log.warning("provider_error", instance=str(lease.row_id), error=str(error))
        _record(context, lease, partial(_refused, error=error))


def _see(context: ControlContext, lease: Lease) -> Seen | None:
    """The row as it is, with a full lease to act under; None when somebody else owns it."""
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, Instance, lease)
        if row is None:
            return None
        queue.renew(row, lease_seconds=context.settings.control.lease_seconds)
        return Seen(
            status=row.status,
            tag=row.tag,
            provider=row.provider,
            instance_type=row.instance_type,
            launched=row.launched_at is not None,
            wanted=_wanted(row),
        )


def _wanted(row: Instance) -> bool:
    return row.requested_for is not None and row.drain_requested_at is None


# --- requested, provisioning --------------------------------------------------------------------------


def _provision(context: ControlContext, lease: Lease, seen: Seen) -> None:
    """Describe by tag before creating: a controller that died in between left at most one machine."""
    provisioner = provisioner_for(context.settings, seen.provider)
    machine = provisioner.describe(seen.tag)
    # A machine that ran and that the provider has forgotten is gone, not to be made again.
    if machine is None and seen.wanted and not seen.launched:
        machine = _create(context, lease, seen, provisioner)
    _record(context, lease, lambda session, row: _provisioned(context, session, row, machine))


def _create(context: ControlContext, lease: Lease, seen: Seen, provisioner: Provisioner) -> Machine | None:
    token = new_token("myi")
    if not _commit_token(context, lease, token):
        return None
    environment = {
        "MODELYARD_API_URL": context.settings.api.url,
        "MODELYARD_INSTANCE_TOKEN": token,
        "MODELYARD_STOP_GRACE_SECONDS": str(context.settings.control.stop_grace_seconds),
    }
    if context.settings.sandbox.unsafe_no_sandbox:
        environment["MODELYARD_UNSAFE_NO_SANDBOX"] = "1"
    broker_users.ensure(context.settings, lease.row_id)
    return provisioner.create(tag=seen.tag, instance_type=seen.instance_type, environment=environment)


def _commit_token(context: ControlContext, lease: Lease, token: str) -> bool:
    """The intent, with the token's hash, is a committed row before the provider hears of it."""
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, Instance, lease)
        if row is None:
            return False
        row.token_hash = hash_token(token)
        row.create_attempts += 1
        if row.status == states.REQUESTED:
            service.move(session, row, states.PROVISIONING, "the provider was asked")
        return True


def _provisioned(context: ControlContext, session: Session, row: Instance, machine: Machine | None) -> datetime | None:
    now = database_now(session)
    repository = FleetRepository(session, Scope(row.organization_id))
    if _gone(machine):
        ended = row.launched_at is not None or machine is not None
        why = "the provider ended it before it was ready" if ended else "nobody needs it any more"
        service.move(session, row, states.TERMINATING, why)
        return now
    if row.launched_at is None:
        row.launched_at = now
        session.flush()
    if row.drain_requested_at is not None:
        service.move(session, row, states.TERMINATING, "drained before it was ready")
        return now
    if row.agent and repository.last_heard(row.id) is not None:
        service.move(session, row, states.READY, "its agent said hello")
        return now + LOOK_AGAIN
    if not _wanted(row):
        service.move(session, row, states.TERMINATING, "nobody needs it any more")
        return now
    if (repository.boot_seconds(row.id) or 0.0) > context.settings.control.boot_timeout_seconds:
        service.move(session, row, states.TERMINATING, "its agent did not say hello in time")
        return now
    return now + LOOK_AGAIN


def _refused(session: Session, row: Instance, *, error: ProviderError) -> datetime | None:
    now = database_now(session)
    if row.status in (states.REQUESTED, states.PROVISIONING):
        if isinstance(error, CapacityError) or row.create_attempts >= MAX_CREATE_ATTEMPTS:
            service.move(session, row, states.TERMINATING, f"the provider refused: {error}")
            return now
        row.status_reason = f"the provider could not be asked: {error}"
    return now + LOOK_LATER


# --- ready ----------------------------------------------------------------------------------------------


def _keep(context: ControlContext, lease: Lease, seen: Seen) -> None:
    try:
        gone = _gone(provisioner_for(context.settings, seen.provider).describe(seen.tag))
    except ProviderError as error:
        # Nothing is known of the machine, but its agent is heard: it is metered and drained all the same.
        log.warning("provider_error", instance=str(lease.row_id), error=str(error))
        gone = False
    broker_users.ensure(context.settings, lease.row_id)
    _record(context, lease, lambda session, row: _kept(context, session, row, gone=gone))


def _kept(context: ControlContext, session: Session, row: Instance, *, gone: bool) -> datetime | None:
    """Meter what it does; end it when it is lost, drained or idle."""
    now = database_now(session)
    scope = Scope(row.organization_id)
    repository = FleetRepository(session, scope)
    reason = "the provider ended it" if gone else _loss(context, repository, row)
    if reason is not None:
        service.end_hold(session, scope, row, lost=True)
        service.move(session, row, states.TERMINATING, reason)
        return now
    service.meter_instance(session, scope, row, context.settings.control)
    reason = _drained(context, repository, row, now)
    if reason is None and (repository.open_assignments(row.id) or service.end_hold_if_over(session, scope, row)):
        return now + LOOK_LATER
    idle_since = repository.last_assignment_end(row.id) or row.ready_at or now
    if reason is None and idle_since + timedelta(seconds=IDLE_SECONDS) < now:
        reason = "idle, and no hold keeps it"
    if reason is not None:
        service.end_hold(session, scope, row)
        service.move(session, row, states.TERMINATING, reason)
        return now
    return now + LOOK_AGAIN


def _loss(context: ControlContext, repository: FleetRepository, row: Instance) -> str | None:
    silence = repository.heartbeat_age(row.id)
    if silence is not None and silence > context.settings.control.lost_after_seconds:
        return f"lost: its agent was silent for {silence:.0f} s"
    return None


def _drained(context: ControlContext, repository: FleetRepository, row: Instance, now: datetime) -> str | None:
    if row.drain_requested_at is None:
        return None
    if not repository.open_assignments(row.id):
        return "drained"
    grace = timedelta(seconds=context.settings.control.stop_grace_seconds + 30)
    if row.drain_requested_at + grace < now:
        return "drained; what ran on it did not end in time"
    return None


# --- terminating ----------------------------------------------------------------------------------------


def _terminate(context: ControlContext, lease: Lease, seen: Seen) -> None:
    provisioner = provisioner_for(context.settings, seen.provider)
    provisioner.terminate(seen.tag)
    machine = provisioner.describe(seen.tag)
    gone = machine is None or machine.state == "terminated"
    if gone:
        broker_users.remove(context.settings, lease.row_id)
    _record(context, lease, lambda session, row: _terminated(session, row, gone=gone))


def _terminated(session: Session, row: Instance, *, gone: bool) -> datetime | None:
    if not gone:
        return database_now(session) + LOOK_AGAIN
    service.move(session, row, states.TERMINATED, "the provider confirmed its end")
    return None


def _gone(machine: Machine | None) -> bool:
    return machine is None or machine.state in ("shutting-down", "terminated")


# --- recording ------------------------------------------------------------------------------------------


def _record(context: ControlContext, lease: Lease, decide: Decide) -> None:
    concerned: list[UUID] = []
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, Instance, lease)
        if row is None:
            return
        before = row.status
        queue.finish(row, lease, due_at=decide(session, row))
        if row.status != before:
            concerned = _concerned(session, row)
    _tell(context, lease, concerned)


def _concerned(session: Session, row: Instance) -> list[UUID]:
    """Whoever runs on it or waits for it."""
    assignments = FleetRepository(session, Scope(row.organization_id)).open_assignments(row.id)
    waiting = [] if row.requested_for is None else [row.requested_for]
    return waiting + [each.subject_id for each in assignments]


def _tell(context: ControlContext, lease: Lease, concerned: Sequence[UUID]) -> None:
    for subject_id in concerned:
        with context.database.unit_of_work() as session:
            act_as(session, lease.organization_id)
            subjects.tell(session, Scope(lease.organization_id), subject_id)


@controls.register("fleet.forget", every_seconds=FORGET_SECONDS)
def forget_old(context: ControlContext) -> int:
    """Delete what assignments used a quarter of a year ago; returns how many reports of it."""
    with context.database.unit_of_work() as session:
        return forget_utilisation(session, limit=FORGET_BATCH)


# --- what no row explains -----------------------------------------------------------------------------


@controls.register("fleet.reconcile", every_seconds=RECONCILE_SECONDS)
def reconcile(context: ControlContext) -> int:
    """End every machine of a provider that no living row explains; returns how many."""
    return sum(_reconcile(context, name, each) for name, each in provisioners(context.settings).items())


def _reconcile(context: ControlContext, name: str, provisioner: Provisioner) -> int:
    ended = 0
    try:
        # The list comes first: a row committed after it cannot make its machine look unexplained.
        machines = provisioner.list()
        with context.database.unit_of_work() as session:
            living = living_instances(session, name)
        for machine in machines:
            if machine.state in ("pending", "running") and machine.tag not in living:
                log.warning("machine_unexplained", provider=name, tag=machine.tag)
                provisioner.terminate(machine.tag)
                ended += 1
    except ProviderError as error:
        # Asked again in seconds; what it had ended stays ended.
        log.info("provider_error", provider=name, error=str(error))
    return ended
