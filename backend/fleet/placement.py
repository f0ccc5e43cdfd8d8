"""Giving instances work: idle ones are found and locked for many subjects of a tenant at once, and told together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.ids import new_id
from backend.fleet.holds import end_holds
from backend.fleet.models import Assignment, Instance
from backend.fleet.repository import FleetRepository


@dataclass(frozen=True, kw_only=True)
class Want:
    """A subject (job or replica) that waits for an instance of a shape."""

    subject_id: UUID
    project_id: UUID
    instance_type: str
    market: str


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an instance shall do: an attempt or a replica, who is billed for it, and what its agent runs."""

    instance: Instance
    subject_kind: str
    subject_id: UUID
    project_id: UUID
    resource_kind: str
    resource_id: UUID
    resource_name: str
    spec: msgspec.Struct


def agent_queue(instance_id: UUID) -> str:
    """The broker key of an agent's doorbells, as the control plane (without a key prefix) sees it."""
    return f"{instance_id}:agent"


def ring_agent(session: Session, instance_id: UUID) -> None:
    """Wake the agent once the transaction is committed."""
    ring_after_commit(session, Doorbell("agent.sync", queue=agent_queue(instance_id)))


def take_idle_instances(session: Session, scope: Scope, wants: Sequence[Want]) -> dict[UUID, Instance]:
    """Ready instances by the subject that may take them, locked until the transaction ends.

    A subject gets the instance that was asked for on its behalf, else one that anybody may take; those first in
    `wants` first. Who gets none is left out.
    """
    shapes: dict[tuple[UUID, str, str], list[UUID]] = defaultdict(list)
    for want in wants:
        shapes[want.project_id, want.instance_type, want.market].append(want.subject_id)
    taken: dict[UUID, Instance] = {}
    for (project_id, instance_type, market), subjects in shapes.items():
        found = FleetRepository(session, scope).idle(
            project_id=project_id, instance_type=instance_type, market=market, subject_ids=subjects
        )
        waiting = set(subjects)
        own = {instance.requested_for: instance for instance in found if instance.requested_for in waiting}
        free = iter([instance for instance in found if instance.requested_for not in own])
        for subject_id in subjects:
            instance = own.get(subject_id) or next(free, None)
            if instance is not None:
                taken[subject_id] = instance
    return taken


def find_idle_instance(
    session: Session, scope: Scope, *, project_id: UUID, instance_type: str, market: str, subject_id: UUID
) -> Instance | None:
    """A ready instance that `subject_id` may take, locked until the transaction ends."""
    want = Want(subject_id=subject_id, project_id=project_id, instance_type=instance_type, market=market)
    return take_idle_instances(session, scope, [want]).get(subject_id)


def assign_all(session: Session, scope: Scope, work: Sequence[Work]) -> list[Assignment]:
    """Tell instances what to do. Ends holds on them (with their last slices) and wakes their agents."""
    end_holds(session, scope, [each.instance for each in work])
    assignments = [
        Assignment(
            id=new_id(),
            organization_id=scope.organization_id,
            instance_id=each.instance.id,
            subject_kind=each.subject_kind,
            subject_id=each.subject_id,
            project_id=each.project_id,
            resource_kind=each.resource_kind,
            resource_id=each.resource_id,
            resource_name=each.resource_name,
            epoch=1,
            desired="run",
            spec=msgspec.to_builtins(each.spec),
        )
        for each in work
    ]
    for each in work:
        each.instance.requested_for = None
        ring_agent(session, each.instance.id)
    FleetRepository(session, scope).add(*assignments)
    return assignments


def assign(session: Session, scope: Scope, work: Work) -> Assignment:
    """Tell one instance what to do."""
    return assign_all(session, scope, [work])[0]
