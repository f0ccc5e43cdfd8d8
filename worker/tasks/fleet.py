"""The instance controller: lease due instances, ask their provider, record. And the reconciler (★5)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

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
from worker.app import controls
from worker.context import ControlContext
from worker.leases import work_through

log = structlog.get_logger(__name__)

BATCH: Final = 50
IDLE_SECONDS: Final = 10.0
LOOK_AGAIN: Final = timedelta(seconds=1)
LOOK_LATER: Final = timedelta(seconds=5)
MAX_CREATE_ATTEMPTS: Final = 5


@controls.register("fleet.control")
def control(context: ControlContext) -> int:
    """Move every due instance one step; returns how many."""
    with context.database.unit_of_work() as session:
        leases = queue.claim(session, Instance, lease_seconds=context.settings.control.lease_seconds, limit=BATCH)
    return work_through(context, Instance, leases, step)


def step(context: ControlContext, lease: Lease) -> None:
    """One instance: look, act with no session open, record if the lease still holds."""
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        instance = queue.load_leased(session, Instance, lease)
        if instance is None:
            return
        status, tag, provider = instance.status, instance.tag, instance.provider
    try:
        if status in (states.REQUESTED, states.PROVISIONING):
            _provision(context, lease, provisioner_for(context.settings, provider), tag)
        elif status == states.READY:
            _keep(context, lease, provisioner_for(context.settings, provider), tag)
        elif status == states.TERMINATING:
            _terminate(context, lease, provisioner_for(context.settings, provider), tag)
    except ProviderError as error:
        log.warning("provider_error", instance=str(lease.row_id), error=str(error))
        _record_failure(context, lease, error)


def _provision(context: ControlContext, lease: Lease, provisioner: Provisioner, tag: str) -> None:
    """Describe by tag before creating: a controller that died in between left at most one machine."""
    machine = provisioner.describe(tag)
    if machine is None and not _gone_already(context, lease):
        token = new_token("myi")
        if not _commit_token(context, lease, token):
            return
        environment = {
            "MODELYARD_API_URL": context.settings.api.url,
            "MODELYARD_INSTANCE_TOKEN": token,
            "MODELYARD_STOP_GRACE_SECONDS": str(context.settings.control.stop_grace_seconds),
        }
        if context.settings.sandbox.unsafe_no_sandbox:
            environment["MODELYARD_UNSAFE_NO_SANDBOX"] = "1"
        broker_users.ensure(context.settings, lease.row_id)
        machine = provisioner.create(tag=tag, instance_type=_instance_type(context, lease), environment=environment)
    _record(context, lease, lambda session, row: _provisioned(context, session, row, machine))


def _gone_already(context: ControlContext, lease: Lease) -> bool:
    """A machine that ran and that the provider has forgotten is gone, not to be made again."""
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, Instance, lease)
        return row is None or row.launched_at is not None


def _instance_type(context: ControlContext, lease: Lease) -> str:
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        return service.get_instance(session, Scope(lease.organization_id), lease.row_id).instance_type


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
    scope = Scope(row.organization_id)
    repository = FleetRepository(session, scope)
    if machine is None or machine.state in ("shutting-down", "terminated"):
        service.move(session, row, states.TERMINATING, "the provider ended it before it was ready")
        return now
    if row.launched_at is None:
        row.launched_at = now
    wanted = row.requested_for is not None
    if repository.heartbeat_age(row.id) is not None and row.agent:
        if row.status == states.REQUESTED:
            service.move(session, row, states.PROVISIONING, "its machine was found")
        service.move(session, row, states.READY, "its agent said hello")
        _tell(session, row)
        return now + LOOK_AGAIN
    if not wanted:
        service.move(session, row, states.TERMINATING, "nobody needs it any more")
        return now
    boot = timedelta(seconds=context.settings.control.boot_timeout_seconds)
    if row.launched_at + boot < now:
        service.move(session, row, states.TERMINATING, "its agent did not say hello in time")
        return now
    return now + LOOK_AGAIN


def _keep(context: ControlContext, lease: Lease, provisioner: Provisioner, tag: str) -> None:
    machine = provisioner.describe(tag)
    broker_users.ensure(context.settings, lease.row_id)
    _record(context, lease, lambda session, row: _kept(context, session, row, machine))


def _kept(context: ControlContext, session: Session, row: Instance, machine: Machine | None) -> datetime | None:
    """Meter what it does; end it when it is lost, drained or idle."""
    now = database_now(session)
    scope = Scope(row.organization_id)
    repository = FleetRepository(session, scope)
    reason = _end_reason(context, repository, row, machine, now)
    if reason is not None:
        service.move(session, row, states.TERMINATING, reason)
        _tell(session, row)
        return now
    service.meter_instance(session, scope, row, context.settings.control)
    busy = bool(repository.open_assignments(row.id))
    if busy or service.end_hold_if_over(session, scope, row):
        return now + LOOK_LATER
    if row.drain_requested_at is not None:
        service.move(session, row, states.TERMINATING, "drained")
        return now
    idle_since = repository.last_assignment_end(row.id) or row.ready_at or now
    if idle_since + timedelta(seconds=IDLE_SECONDS) < now:
        service.move(session, row, states.TERMINATING, "idle, and no hold keeps it")
        return now
    return now + LOOK_AGAIN


def _end_reason(
    context: ControlContext, repository: FleetRepository, row: Instance, machine: Machine | None, now: datetime
) -> str | None:
    if machine is None or machine.state in ("shutting-down", "terminated"):
        return "the provider ended it"
    silence = repository.heartbeat_age(row.id)
    if silence is not None and silence > context.settings.control.lost_after_seconds:
        return f"lost: its agent was silent for {silence:.0f} s"
    if row.drain_requested_at is not None:
        grace = timedelta(seconds=context.settings.control.stop_grace_seconds + 30)
        if row.drain_requested_at + grace < now:
            return "drained; what ran on it did not end in time"
    return None


def _terminate(context: ControlContext, lease: Lease, provisioner: Provisioner, tag: str) -> None:
    provisioner.terminate(tag)
    machine = provisioner.describe(tag)
    gone = machine is None or machine.state == "terminated"
    if gone:
        broker_users.remove(context.settings, lease.row_id)
    _record(context, lease, lambda session, row: _terminated(session, row, gone=gone))


def _terminated(session: Session, row: Instance, *, gone: bool) -> datetime | None:
    if not gone:
        return database_now(session) + LOOK_AGAIN
    scope = Scope(row.organization_id)
    service.end_hold_if_over(session, scope, row)
    service.move(session, row, states.TERMINATED, "the provider confirmed its end")
    _tell(session, row)
    return None


def _tell(session: Session, row: Instance) -> None:
    """Whoever runs on it or waits for it should look now."""
    scope = Scope(row.organization_id)
    subjects.tell(session, scope, row.requested_for)
    for assignment in FleetRepository(session, scope).open_assignments(row.id):
        subjects.tell(session, scope, assignment.subject_id)


def _record_failure(context: ControlContext, lease: Lease, error: ProviderError) -> None:
    def failed(session: Session, row: Instance) -> datetime | None:
        now = database_now(session)
        out_of_capacity = isinstance(error, CapacityError)
        if row.status in (states.REQUESTED, states.PROVISIONING) and (
            out_of_capacity or row.create_attempts >= MAX_CREATE_ATTEMPTS
        ):
            service.move(session, row, states.TERMINATING, f"the provider refused: {error}")
            return now
        row.status_reason = f"the provider could not be asked: {error}"
        return now + LOOK_LATER

    _record(context, lease, failed)


def _record(context: ControlContext, lease: Lease, decide: Callable[[Session, Instance], datetime | None]) -> None:
    with context.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, Instance, lease)
        if row is not None:
            queue.finish(row, lease, due_at=decide(session, row))


@controls.register("fleet.reconcile")
def reconcile(context: ControlContext) -> int:
    """End every machine of a provider that no living row explains; returns how many."""
    ended = 0
    for name, provisioner in provisioners(context.settings).items():
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
            log.warning("provider_error", provider=name, error=str(error))
    return ended
