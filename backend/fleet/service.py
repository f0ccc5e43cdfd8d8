"""Use cases of the fleet: instances on request, assignments, their state and their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit.service import record as audit
from backend.core.clock import database_now
from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.ids import new_id
from backend.core.lifecycle import record_creation, transition
from backend.core.queue import make_due
from backend.core.settings import ControlSettings
from backend.fleet import states
from backend.fleet.errors import InstanceNotFound, InstanceTypeUnknown, QuotaExceeded
from backend.fleet.holds import end_hold, end_hold_if_over
from backend.fleet.metering import meter_assignment, meter_hold, sku_of
from backend.fleet.models import Assignment, Hold, Instance, InstanceType, Report
from backend.fleet.placement import (
    Want,
    Work,
    assign,
    assign_all,
    find_idle_instance,
    ring_agent,
    take_idle_instances,
)
from backend.fleet.repository import FleetRepository
from backend.fleet.sweep_repository import undisturbed_assignments
from backend.fleet.utilisation import Use, read_utilisation

__all__ = [
    "Use",
    "Want",
    "Work",
    "assign",
    "assign_all",
    "end_hold",
    "end_hold_if_over",
    "find_idle_instance",
    "read_utilisation",
    "sku_of",
    "take_idle_instances",
    "undisturbed_assignments",
]

CONTROL = Doorbell("fleet.control")
CONTROLLER = "controller:fleet"


@dataclass(frozen=True)
class ExpectedWork:
    """What is likely to come to an idle instance: its shape, and the resource (a job, if it is one) that says so."""

    shape: InstanceType
    resource_id: UUID


@dataclass(frozen=True)
class AssignmentState:
    """What is known of an assignment now. `lost`: not heard of for longer than the grace, or its machine is gone."""

    assignment: Assignment
    instance: Instance
    elapsed_seconds: float
    lost: bool
    loss_reason: str


def get_instance_type(session: Session, scope: Scope, name: str) -> InstanceType:
    """The type of this name. Raises InstanceTypeUnknown."""
    found = FleetRepository(session, scope).instance_type(name)
    if found is None:
        raise InstanceTypeUnknown(f"there is no instance type '{name}'")
    return found


def list_instance_types(session: Session, scope: Scope) -> Sequence[InstanceType]:
    """All instance types."""
    return FleetRepository(session, scope).instance_types()


def list_instances(
    session: Session, scope: Scope, *, include_terminated: bool = False, limit: int = 100
) -> Sequence[Instance]:
    """The organization's instances, newest first."""
    return FleetRepository(session, scope).instances(include_terminated=include_terminated, limit=limit)


def get_instance(session: Session, scope: Scope, instance_id: UUID) -> Instance:
    """One instance. Raises InstanceNotFound."""
    found = FleetRepository(session, scope).instance(instance_id)
    if found is None:
        raise InstanceNotFound(f"there is no instance {instance_id}")
    return found


# --- instances on request -----------------------------------------------------------------------


def requested_instance(session: Session, scope: Scope, subject_id: UUID) -> Instance | None:
    """The newest instance asked for on behalf of this job or replica, whatever its status."""
    return requested_instances(session, scope, [subject_id]).get(subject_id)


def requested_instances(session: Session, scope: Scope, subject_ids: Sequence[UUID]) -> dict[UUID, Instance]:
    """The same for many, by the job's or replica's id; who never asked is left out."""
    return FleetRepository(session, scope).newest_requested_for(subject_ids)


def request_instance(
    session: Session, scope: Scope, *, project_id: UUID, instance_type: str, market: str, requested_for: UUID
) -> Instance:
    """A new instance row, `requested`. Raises InstanceTypeUnknown, QuotaExceeded."""
    repository = FleetRepository(session, scope)
    shape = get_instance_type(session, scope, instance_type)
    for name, allowed in repository.quotas(instance_type).items():
        used = repository.open_instances(None if name == "*" else name)
        if used >= allowed:
            what = "instances" if name == "*" else f"{name} instances"
            raise QuotaExceeded(f"{used} of {allowed} {what} are in use")
    instance_id = new_id()
    instance = Instance(
        id=instance_id,
        organization_id=scope.organization_id,
        project_id=project_id,
        instance_type=shape.name,
        market=market,
        provider=shape.provider,
        tag=f"my-{instance_id}",
        status=states.REQUESTED,
        status_reason="waiting for the provider",
        requested_for=requested_for,
        due_at=database_now(session),
    )
    repository.add(instance)
    record_creation(session, "instance", instance, reason=f"requested for {requested_for}", actor=CONTROLLER)
    ring_after_commit(session, CONTROL)
    return instance


def count_failed_requests(session: Session, scope: Scope, subject_id: UUID) -> int:
    """Instances asked for on behalf of this subject that went before they were ever assigned to it."""
    return FleetRepository(session, scope).failed_requests(subject_id)


def give_up_request(session: Session, scope: Scope, subject_id: UUID) -> None:
    """Nobody needs the instance that was asked for on behalf of this subject any more."""
    instance = requested_instance(session, scope, subject_id)
    if instance is not None and instance.status != states.TERMINATED:
        instance.requested_for = None
        instance.due_at = database_now(session)
        ring_after_commit(session, CONTROL)


def expected_work(session: Session, scope: Scope, instance_id: UUID) -> ExpectedWork | None:
    """Whom an idle instance was asked for, or after whom it is held; None where nothing is likely to come."""
    repository = FleetRepository(session, scope)
    instance = get_instance(session, scope, instance_id)
    if instance.drain_requested_at is not None or instance.interruption_notice is not None:
        return None
    resource_id = instance.requested_for
    if resource_id is None and repository.open_hold(instance_id) is not None:
        last = repository.latest_assignment(instance_id)
        resource_id = last.resource_id if last is not None else None
    if resource_id is None:
        return None
    return ExpectedWork(get_instance_type(session, scope, instance.instance_type), resource_id)


# --- assignments ----------------------------------------------------------------------------------


def ask_to_stop(session: Session, scope: Scope, assignment_id: UUID, reason: str) -> None:
    """Desired state: stopped. The agent sends SIGTERM, waits, then kills."""
    assignment = FleetRepository(session, scope).assignment(assignment_id, lock=True)
    if assignment is not None and assignment.ended_at is None and assignment.desired != "stop":
        assignment.desired = "stop"
        assignment.stop_reason = reason
        ring_agent(session, assignment.instance_id)


def accept_start(session: Session, scope: Scope, assignment_id: UUID, *, at: datetime) -> None:
    """The start report was accepted at `at` (Postgres's clock): the meter runs."""
    assignment = FleetRepository(session, scope).assignment(assignment_id, lock=True)
    if assignment is not None and assignment.started_at is None:
        assignment.started_at = at


def unapplied_reports(session: Session, scope: Scope, assignment_id: UUID) -> Sequence[Report]:
    """Reports no controller has acted on, in order."""
    return FleetRepository(session, scope).unapplied_reports(assignment_id)


def mark_applied(session: Session, scope: Scope, reports: Sequence[Report]) -> None:
    """A controller acted on these."""
    if reports:
        FleetRepository(session, scope).mark_applied([report.id for report in reports])


def assignment_state(
    session: Session, scope: Scope, assignment_id: UUID, control: ControlSettings
) -> AssignmentState | None:
    """The assignment, its instance, and whether it is lost; None when it does not exist."""
    repository = FleetRepository(session, scope)
    assignment = repository.assignment(assignment_id, lock=True)
    if assignment is None:
        return None
    instance = get_instance(session, scope, assignment.instance_id)
    heard = repository.assignment_heartbeat(assignment_id)
    elapsed, age = heard if heard is not None else (0.0, None)
    silence = repository.heartbeat_age(instance.id)
    if instance.status in (states.TERMINATING, states.TERMINATED):
        lost, why = True, f"its instance is {instance.status}: {instance.status_reason}"
    elif silence is not None and silence > control.lost_after_seconds:
        lost, why = True, f"its instance was silent for {silence:.0f} s"
    elif age is not None and age > control.lost_after_seconds:
        lost, why = True, f"the agent has not spoken of it for {age:.0f} s"
    elif age is None and repository.unheard_seconds(assignment_id) > control.lost_after_seconds:
        lost, why = True, "the agent never took it up"
    else:
        lost, why = False, ""
    return AssignmentState(assignment, instance, elapsed, lost, why)


def close_assignment(
    session: Session,
    scope: Scope,
    assignment_id: UUID,
    *,
    elapsed_seconds: float | None = None,
    keep_alive_seconds: float = 0,
) -> None:
    """Write the last slice and end the assignment; its instance goes to a hold, or goes.

    `elapsed_seconds`: from the end report; None = the last heartbeat's (the assignment was lost).
    """
    repository = FleetRepository(session, scope)
    assignment = repository.assignment(assignment_id, lock=True)
    if assignment is None or assignment.ended_at is not None:
        return
    # Locked after the assignment; the instance's controller, which goes the other way, never waits for assignments.
    instance = repository.instance(assignment.instance_id, lock=True)
    assert instance is not None  # noqa: S101 - a foreign key holds it
    heard = repository.assignment_heartbeat(assignment_id)
    elapsed = elapsed_seconds if elapsed_seconds is not None else (heard[0] if heard else 0.0)
    now = database_now(session)
    meter_assignment(session, scope, instance, assignment, elapsed_seconds=elapsed, now=now, at_least_seconds=0)
    assignment.ended_at = now
    usable = instance.status == states.READY and instance.drain_requested_at is None
    if keep_alive_seconds > 0 and usable and elapsed_seconds is not None:
        # From now on, not from where the assignment's bill ended: what lay between was the platform's time.
        repository.add(
            Hold(
                organization_id=scope.organization_id,
                instance_id=instance.id,
                project_id=assignment.project_id,
                reason="warm pool",
                started_at=now,
                until_at=now + timedelta(seconds=keep_alive_seconds),
            )
        )
    elif instance.drain_requested_at is None:
        instance.drain_requested_at = now
    make_due(session, Instance, [instance.id])
    ring_after_commit(session, CONTROL)
    ring_agent(session, instance.id)


def request_drain(session: Session, scope: Scope, instance_id: UUID) -> Instance:
    """An operator's intent: no new work on this instance; it goes when what it does has ended."""
    instance = get_instance(session, scope, instance_id)
    if instance.drain_requested_at is None:
        instance.drain_requested_at = database_now(session)
        make_due(session, Instance, [instance.id])
        ring_after_commit(session, CONTROL)
        ring_agent(session, instance.id)
    return instance


def set_quota(session: Session, who: str, scope: Scope, instance_type: str, max_instances: int | None) -> None:
    """An operator's act: how many instances of a type (`*`: of all types) an organization may have; None = no quota.

    Raises InstanceTypeUnknown.
    """
    repository = FleetRepository(session, scope)
    if instance_type != "*" and repository.instance_type(instance_type) is None:
        raise InstanceTypeUnknown(f"there is no instance type '{instance_type}'")
    repository.set_quota(instance_type, max_instances)
    audit(
        session,
        who,
        scope,
        action="quota.set",
        resource_kind="quota",
        resource_id=instance_type,
        detail={"max_instances": max_instances},
    )


# --- for the instance controller --------------------------------------------------------------------


def move(session: Session, instance: Instance, to: str, reason: str) -> None:
    """A legal transition of an instance, with its event."""
    transition(session, "instance", instance, to, states.TRANSITIONS, reason=reason, actor=CONTROLLER)
    now = database_now(session)
    if to == states.READY:
        instance.ready_at = now
    elif to == states.TERMINATING:
        instance.terminating_at = now
    elif to == states.TERMINATED:
        instance.terminated_at = now


def meter_instance(session: Session, scope: Scope, instance: Instance, control: ControlSettings) -> None:
    """Write the slices that are due for what the instance does now; a hold's never beyond its agent's last words."""
    repository = FleetRepository(session, scope)
    for assignment in repository.lock_open_assignments(instance.id):
        heard = repository.assignment_heartbeat(assignment.id)
        if heard is not None:
            meter_assignment(
                session,
                scope,
                instance,
                assignment,
                elapsed_seconds=heard[0],
                now=database_now(session),
                at_least_seconds=control.usage_slice_seconds,
            )
    hold = repository.open_hold(instance.id)
    last_heard = repository.last_heard(instance.id)
    if hold is not None and last_heard is not None:
        to_at = min(last_heard, hold.until_at)
        meter_hold(session, scope, instance, hold, to_at=to_at, at_least_seconds=control.usage_slice_seconds)
