"""One replica at a time: place it, apply what its agent says, drain it, end it. Called by the endpoint's controller."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.lifecycle import transition
from backend.core.settings import Settings
from backend.endpoints import states
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant, Replica
from backend.fleet import service as fleet
from backend.fleet.errors import QuotaExceeded
from backend.fleet.models import Instance, Report
from backend.fleet.states import TERMINATED, TERMINATING
from backend.registry.service import get_version, version_files

ACTOR: Final = "controller:endpoints"
MARKET: Final = "on-demand"
DRAIN: Final = timedelta(seconds=3)
"""Gateways fetch the routing table each second: after this none places a connection on a draining replica."""
READY_WITHIN: Final = timedelta(seconds=300)
MAX_FAILED_REQUESTS: Final = 3
PROCESS_LIMIT: Final = 256
DISK_LIMIT_BYTES: Final = 4 * 1024**3
SYSTEM_SHARE: Final = 0.15


@dataclass(frozen=True)
class Followed:
    """What one look at a replica found. `leaving`: its instance is to go, so another must take its place."""

    leaving: bool = False


def move(session: Session, replica: Replica, to: str, reason: str) -> None:
    """A legal transition of a replica, with its event."""
    transition(session, "replica", replica, to, states.REPLICA, reason=reason, actor=ACTOR)


def end(session: Session, replica: Replica, to: str, reason: str, failure: dict[str, Any] | None = None) -> None:
    """The replica is over: stopped, failed or lost."""
    replica.failure = failure or replica.failure
    replica.ended_at = database_now(session)
    move(session, replica, to, reason)


# --- placing --------------------------------------------------------------------------------------


def place(
    session: Session,
    scope: Scope,
    endpoint: Endpoint,
    replica: Replica,
    config: EndpointConfig,
    variants: list[ProductionVariant],
) -> None:
    """Give a pending replica an instance: an idle one, one that was asked for, or ask for one."""
    instance = fleet.find_idle_instance(
        session,
        scope,
        project_id=endpoint.project_id,
        instance_type=config.instance_type,
        market=MARKET,
        subject_id=replica.id,
    )
    if instance is not None:
        _assign(session, scope, endpoint, replica, config, variants, instance)
        return
    asked = fleet.requested_instance(session, scope, replica.id)
    if asked is not None and asked.status not in (TERMINATING, TERMINATED):
        replica.status_reason = f"its {asked.instance_type} instance is {asked.status}: {asked.status_reason}"
        return
    if asked is not None and fleet.count_failed_requests(session, scope, replica.id) >= MAX_FAILED_REQUESTS:
        reason = f"no {config.instance_type} instance could be had: {asked.status_reason}"
        end(session, replica, states.FAILED, reason, _failure("capacity", reason))
        return
    try:
        fleet.request_instance(
            session,
            scope,
            project_id=endpoint.project_id,
            instance_type=config.instance_type,
            market=MARKET,
            requested_for=replica.id,
        )
        replica.status_reason = f"a {config.instance_type} instance was asked for"
    except QuotaExceeded as full:
        replica.status_reason = f"waiting for quota: {full.detail}"


def _assign(
    session: Session,
    scope: Scope,
    endpoint: Endpoint,
    replica: Replica,
    config: EndpointConfig,
    variants: list[ProductionVariant],
    instance: Instance,
) -> None:
    shape = fleet.get_instance_type(session, scope, config.instance_type)
    spec = wire.ReplicaSpec(
        endpoint_id=str(endpoint.id),
        endpoint_name=endpoint.name,
        organization_id=str(scope.organization_id),
        replica_id=str(replica.id),
        variants=[_variant_spec(session, scope, variant) for variant in variants],
        processes=config.processes,
        memory_limit_bytes=int(shape.memory_bytes * (1 - SYSTEM_SHARE)),
        cpu_count=shape.vcpus,
        process_limit=PROCESS_LIMIT,
        disk_limit_bytes=DISK_LIMIT_BYTES,
    )
    work = fleet.Work(
        instance=instance,
        subject_kind="replica",
        subject_id=replica.id,
        project_id=endpoint.project_id,
        resource_kind="endpoint",
        resource_id=endpoint.id,
        resource_name=endpoint.name,
        spec=spec,
    )
    assignment = fleet.assign(session, scope, work)
    replica.instance_id = instance.id
    replica.assignment_id = assignment.id
    replica.assigned_at = database_now(session)
    move(session, replica, states.STARTING, f"assigned to instance {instance.id}")


def _variant_spec(session: Session, scope: Scope, variant: ProductionVariant) -> wire.VariantSpec:
    version = get_version(session, scope, variant.model_version_id)
    return wire.VariantSpec(name=variant.name, model_version_id=str(version.id), files=version_files(version))


# --- following ------------------------------------------------------------------------------------


def follow(session: Session, scope: Scope, replica: Replica, settings: Settings) -> Followed:
    """Apply the agent's reports in order; notice an end, a loss, a start that takes too long."""
    if replica.assignment_id is None:
        return Followed()
    state = fleet.assignment_state(session, scope, replica.assignment_id, settings.control)
    if state is None:
        end(session, replica, states.LOST, "its assignment is gone")
        return Followed()
    reports = fleet.unapplied_reports(session, scope, replica.assignment_id)
    fleet.mark_applied(session, scope, reports)
    for report in reports:
        _apply(session, scope, replica, report)
    if replica.ended_at is not None:
        return Followed()
    if state.lost:
        fleet.close_assignment(session, scope, replica.assignment_id)
        reason = f"lost: {state.loss_reason}"
        end(session, replica, states.LOST, reason, _failure("interruption", reason))
        return Followed()
    _look_at_clock(session, scope, replica)
    return Followed(leaving=state.instance.drain_requested_at is not None)


def _apply(session: Session, scope: Scope, replica: Replica, report: Report) -> None:
    body = msgspec.convert(report.body, wire.ReportBody)
    assert replica.assignment_id is not None  # noqa: S101 - reports belong to its assignment
    if isinstance(body, wire.Started):
        fleet.accept_start(session, scope, replica.assignment_id, at=report.received_at)
        if replica.status == states.STARTING:
            replica.status_reason = "its processes run; probes follow"
    elif isinstance(body, wire.ReplicaReady):
        _ready(session, scope, replica, body, report.received_at)
    elif isinstance(body, wire.Ended):
        fleet.close_assignment(session, scope, replica.assignment_id, elapsed_seconds=report.elapsed_seconds)
        _ended(session, replica, body)


def _ready(session: Session, scope: Scope, replica: Replica, body: wire.ReplicaReady, at: datetime) -> None:
    replica.probes = msgspec.to_builtins(body.probes)
    if replica.status not in (states.STARTING, states.IN_SERVICE):
        return
    failed = [probe for probe in body.probes if not probe.ok]
    if failed or not body.probes:
        detail = "; ".join(f"variant '{probe.variant}': {probe.detail}" for probe in failed) or "no variant answered"
        stop(session, scope, replica, f"a probe failed: {detail}", _failure("user_code", f"a probe failed: {detail}"))
        return
    replica.socket_path = body.socket_path
    if replica.status == states.IN_SERVICE:
        return
    replica.ready_at = at
    move(session, replica, states.IN_SERVICE, "every variant answered a probe")


def _ended(session: Session, replica: Replica, body: wire.Ended) -> None:
    if replica.failure is not None:
        end(session, replica, states.FAILED, str(replica.failure["reason"]))
    elif replica.status in (states.STOPPING, states.DRAINING):
        end(session, replica, states.STOPPED, replica.status_reason)
    elif body.failure is not None:
        failure: dict[str, Any] = msgspec.to_builtins(body.failure)
        end(session, replica, states.FAILED, body.failure.reason, failure)
    else:
        reason = f"its agent ended it ({body.outcome})"
        end(session, replica, states.FAILED, reason, _failure("platform", reason))


def _look_at_clock(session: Session, scope: Scope, replica: Replica) -> None:
    now = database_now(session)
    if replica.status == states.DRAINING and replica.draining_at is not None and replica.draining_at + DRAIN <= now:
        stop(session, scope, replica, replica.status_reason)
    elif (
        replica.status == states.STARTING
        and replica.assigned_at is not None
        and replica.assigned_at + READY_WITHIN <= now
    ):
        reason = f"it was not ready within {READY_WITHIN.total_seconds():.0f} s"
        stop(session, scope, replica, reason, _failure("timeout", reason))


# --- leaving --------------------------------------------------------------------------------------


def retire(session: Session, scope: Scope, replica: Replica, reason: str, *, at_once: bool = False) -> None:
    """Nobody wants it any more: give up its request, or let it drain, or tell it to stop."""
    if replica.status == states.PENDING:
        fleet.give_up_request(session, scope, replica.id)
        end(session, replica, states.STOPPED, reason)
    elif replica.status == states.IN_SERVICE and not at_once:
        replica.draining_at = database_now(session)
        move(session, replica, states.DRAINING, reason)
    elif replica.status in (states.STARTING, states.IN_SERVICE, states.DRAINING) and (
        at_once or replica.status == states.STARTING
    ):
        stop(session, scope, replica, reason)


def stop(session: Session, scope: Scope, replica: Replica, reason: str, failure: dict[str, Any] | None = None) -> None:
    """Tell its agent to stop it; with a failure, its end counts as one."""
    replica.failure = failure or replica.failure
    assert replica.assignment_id is not None  # noqa: S101 - only assigned replicas are told
    fleet.ask_to_stop(session, scope, replica.assignment_id, reason)
    move(session, replica, states.STOPPING, reason)


def _failure(failure_class: str, reason: str) -> dict[str, Any]:
    return {"failure_class": failure_class, "reason": reason, "hint": None}
