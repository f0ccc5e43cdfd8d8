"""Endpoints as owner of assignments of kind `replica`, and as the one who knows how a replica's bill is split."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, exists
from sqlalchemy.orm import Session

from backend.billing.service import Share, UsageRecord, register_splitter
from backend.core import wire
from backend.core.db import Scope, ring_after_commit
from backend.core.queue import make_due
from backend.core.storage import ObjectStore
from backend.endpoints import states
from backend.endpoints.models import Endpoint, Replica
from backend.endpoints.repository import EndpointRepository
from backend.endpoints.service import CONTROL
from backend.endpoints.traffic_repository import TrafficRepository
from backend.fleet import subjects
from backend.fleet.models import Assignment


class ReplicaSubject:
    """Wakes the controller for what a replica's agent says; knows which blobs a replica reads."""

    def on_reports(
        self,
        session: Session,
        scope: Scope,
        assignment: Assignment,
        reports: Sequence[wire.Report],
    ) -> None:
        """Mark the endpoint due; the reports wait in their rows. Logs of replicas are not kept."""
        del scope
        if any(not isinstance(report.body, wire.Logs | wire.Metrics) for report in reports):
            make_due(session, Endpoint, [assignment.resource_id])
            ring_after_commit(session, CONTROL)

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, assignment: Assignment) -> frozenset[str]:
        """The files of the models it hosts, and nothing else."""
        del session, storage, scope
        spec = msgspec.convert(assignment.spec, wire.ReplicaSpec)
        return frozenset(file.sha256 for variant in spec.variants for file in variant.files)


class ComputeSplitter:
    """A replica's seconds are shared by its variants by the compute time of their traffic in the slice."""

    def shares(self, session: Session, scope: Scope, record: UsageRecord) -> list[Share]:
        """Microseconds by variant; refused calls without a variant share nothing."""
        found = TrafficRepository(session, scope).compute(record.source_id, record.from_at, record.to_at)
        return [Share(variant, compute) for variant, compute in found if variant]

    def settled(self) -> ColumnElement[bool]:
        """A replica whose agent told its end has delivered its segments before; a lost one may deliver late."""
        told = (states.STOPPED, states.FAILED)
        return exists().where(
            Replica.organization_id == UsageRecord.organization_id,
            Replica.id == UsageRecord.source_id,
            Replica.status.in_(told),
        )


def _wake(session: Session, scope: Scope, subject_id: UUID) -> None:
    """An instance changed that a replica waits for, or runs on."""
    replica = EndpointRepository(session, scope).replica(subject_id)
    if replica is not None:
        make_due(session, Endpoint, [replica.endpoint_id])
        ring_after_commit(session, CONTROL)


def install() -> None:
    """Own assignments of kind `replica`, and split their usage. Called by composition roots; again changes nothing."""
    subjects.register("replica", ReplicaSubject())
    subjects.listen(_wake)
    register_splitter("replica", ComputeSplitter())
