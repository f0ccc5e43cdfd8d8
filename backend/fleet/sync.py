"""What an agent says and hears: reports accepted in order and once, heartbeats kept, desired state answered."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.bell import agent_password, with_credentials
from backend.core.db import Scope, ring_after_commit
from backend.core.queue import make_due
from backend.core.settings import Settings
from backend.fleet import service, subjects
from backend.fleet.errors import AssignmentNotFound, StaleEpoch
from backend.fleet.models import Assignment, Instance, Report
from backend.fleet.repository import FleetRepository
from backend.fleet.utilisation import store_utilisation

STREAMED = (wire.Metrics, wire.Logs, wire.Utilisation)
"""Reports stored as they come, the last here, the others by their owner; the rest waits in rows for a controller."""


def hello(
    session: Session, scope: Scope, instance_id: UUID, said: wire.HelloRequest, settings: Settings
) -> wire.HelloReply:
    """An agent booted or restarted: note what it is, wake the controller, tell it its queue and rhythm."""
    repository = FleetRepository(session, scope)
    instance = service.get_instance(session, scope, instance_id)
    instance.agent = msgspec.to_builtins(said)
    repository.beat(instance_id)
    make_due(session, Instance, [instance_id])
    ring_after_commit(session, service.CONTROL)
    broker_url = ""
    if settings.broker.url is not None and settings.broker.agent_secret is not None:
        password = agent_password(settings.broker.agent_secret.get_secret_value(), str(instance_id))
        broker_url = with_credentials(settings.broker.url.get_secret_value(), str(instance_id), password)
    return wire.HelloReply(
        instance_id=str(instance_id),
        organization_id=str(scope.organization_id),
        broker_url=broker_url,
        broker_prefix=f"{instance_id}:",
        broker_queue="agent",
        heartbeat_seconds=settings.control.heartbeat_seconds,
    )


def open_assignments(session: Session, scope: Scope, instance_id: UUID) -> dict[str, Assignment]:
    """What this instance should be doing, by assignment id."""
    rows = FleetRepository(session, scope).open_assignments(instance_id)
    return {str(row.id): row for row in rows}


def sync(
    session: Session, scope: Scope, instance_id: UUID, said: wire.SyncRequest, settings: Settings
) -> wire.SyncReply:
    """Accept reports, keep heartbeats, answer the desired state. One transaction."""
    repository = FleetRepository(session, scope)
    instance = service.get_instance(session, scope, instance_id)
    repository.beat(instance_id)
    mine = open_assignments(session, scope, instance_id)
    accepted, stale = _accept(session, scope, mine, said.reports)
    for running in said.running:
        assignment = mine.get(running.assignment_id)
        if assignment is None or assignment.epoch != running.epoch:
            stale.add(running.assignment_id)
        else:
            repository.beat_assignment(assignment.id, running.epoch, running.elapsed_seconds)
    if said.interruption_notice and instance.interruption_notice is None:
        # After the reports: they may lock the owner's row, which its controller locks before the instance.
        instance.interruption_notice = said.interruption_notice
        service.request_drain(session, scope, instance_id)
    return wire.SyncReply(
        assignments=[_desired(row) for row in mine.values()],
        accepted=accepted,
        stale=sorted(stale),
        drain=instance.drain_requested_at is not None,
        heartbeat_seconds=settings.control.heartbeat_seconds,
    )


def _accept(
    session: Session, scope: Scope, mine: dict[str, Assignment], reports: Iterable[wire.Report]
) -> tuple[dict[str, int], set[str]]:
    """Accept each assignment's reports in order: known ones are skipped, a gap ends the batch."""
    by_assignment: dict[str, list[wire.Report]] = {}
    for report in reports:
        by_assignment.setdefault(report.assignment_id, []).append(report)
    accepted: dict[str, int] = {}
    stale: set[str] = set()
    for assignment_id, said in by_assignment.items():
        assignment = mine.get(assignment_id)
        if assignment is None or any(report.epoch != assignment.epoch for report in said):
            stale.add(assignment_id)
        else:
            accepted[assignment_id] = _accept_in_order(session, scope, assignment, said)
    return accepted, stale


def _accept_in_order(session: Session, scope: Scope, assignment: Assignment, said: Sequence[wire.Report]) -> int:
    repository = FleetRepository(session, scope)
    cursor = repository.lock_cursor(assignment.id, assignment.epoch)
    fresh: list[wire.Report] = []
    for report in sorted(said, key=lambda each: each.seq):
        if report.seq == cursor.last_seq + 1:
            fresh.append(report)
            cursor.last_seq = report.seq
        elif report.seq > cursor.last_seq:
            break
    for report in fresh:
        if not isinstance(report.body, STREAMED):
            repository.add(_row(scope, assignment, report))
    if fresh:
        latest = max(report.elapsed_seconds for report in fresh)
        repository.beat_assignment(assignment.id, assignment.epoch, latest)
        for report in fresh:
            if isinstance(report.body, wire.Utilisation):
                store_utilisation(session, scope, assignment, report, report.body)
        told = [report for report in fresh if not isinstance(report.body, wire.Utilisation)]
        if told:
            subjects.owner_of(assignment).on_reports(session, scope, assignment, told)
    return cursor.last_seq


def _row(scope: Scope, assignment: Assignment, report: wire.Report) -> Report:
    body = msgspec.to_builtins(report.body)
    return Report(
        organization_id=scope.organization_id,
        assignment_id=assignment.id,
        epoch=report.epoch,
        seq=report.seq,
        kind=body["type"],
        elapsed_seconds=report.elapsed_seconds,
        body=body,
    )


def _desired(row: Assignment) -> wire.Assignment:
    attempt = row.spec if row.subject_kind == "attempt" else None
    replica = row.spec if row.subject_kind == "replica" else None
    return wire.Assignment(
        id=str(row.id),
        epoch=row.epoch,
        desired="stop" if row.desired == "stop" else "run",
        stop_reason=row.stop_reason,
        attempt=msgspec.convert(attempt, wire.AttemptSpec) if attempt is not None else None,
        replica=msgspec.convert(replica, wire.ReplicaSpec) if replica is not None else None,
    )


def assignment_of(
    session: Session, scope: Scope, instance_id: UUID, assignment_id: UUID, epoch: int, *, ended_too: bool = False
) -> Assignment:
    """An assignment of this instance in this epoch. Raises AssignmentNotFound, StaleEpoch."""
    row = FleetRepository(session, scope).assignment(assignment_id)
    if row is None or row.instance_id != instance_id:
        raise AssignmentNotFound(f"this instance has no assignment {assignment_id}")
    if row.epoch != epoch or (row.ended_at is not None and not ended_too):
        raise StaleEpoch(f"epoch {epoch} of assignment {assignment_id} is over")
    return row


def log_key(organization_id: UUID, assignment_id: str, epoch: int, seq: int) -> str:
    """Where the log lines of one report lie."""
    return f"logs/{organization_id}/{assignment_id}/{epoch}-{seq:09d}.json"
