"""All SQL of the fleet, within one organization."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Extract, Select, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend.core.db import Scope
from backend.core.ids import new_id
from backend.fleet import states
from backend.fleet.models import (
    ApiUptime,
    Assignment,
    AssignmentHeartbeat,
    Hold,
    Instance,
    InstanceHeartbeat,
    InstanceType,
    Quota,
    Report,
    ReportCursor,
)

TAKE_OVER_AFTER = timedelta(seconds=5)
"""An instance requested for somebody else may be taken once it stood ready this long without an assignment."""


STILL_UP = timedelta(seconds=3)
"""So long after its last beat the API counts as up; it beats every two seconds."""


class FleetRepository:
    """Instances, assignments, reports and holds of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    # --- instance types and quotas ------------------------------------------------------------

    def instance_type(self, name: str) -> InstanceType | None:
        """The type of this name."""
        return self._session.get(InstanceType, name)

    def instance_types(self) -> Sequence[InstanceType]:
        """All types, by name."""
        return self._session.scalars(select(InstanceType).order_by(InstanceType.name)).all()

    def quotas(self, instance_type: str) -> dict[str, int]:
        """Quotas that bound this type: its own and `*`. Locks them, so that two requests cannot both fit."""
        rows = self._session.scalars(
            select(Quota)
            .where(
                Quota.organization_id == self._organization_id,
                Quota.instance_type.in_((instance_type, "*")),
            )
            .order_by(Quota.instance_type)
            .with_for_update(key_share=True)
        )
        return {row.instance_type: row.max_instances for row in rows}

    def set_quota(self, instance_type: str, max_instances: int | None) -> None:
        """Make, change or (None) remove one quota."""
        mine = (Quota.organization_id == self._organization_id, Quota.instance_type == instance_type)
        if max_instances is None:
            self._session.execute(delete(Quota).where(*mine))
            return
        row = insert(Quota).values(
            id=new_id(),
            organization_id=self._organization_id,
            instance_type=instance_type,
            max_instances=max_instances,
        )
        self._session.execute(
            row.on_conflict_do_update(
                index_elements=["organization_id", "instance_type"], set_={"max_instances": max_instances}
            )
        )

    def open_instances(self, instance_type: str | None) -> int:
        """How many instances (of one type, or all) are not terminated."""
        query = select(func.count()).where(
            Instance.organization_id == self._organization_id, Instance.status != states.TERMINATED
        )
        if instance_type is not None:
            query = query.where(Instance.instance_type == instance_type)
        return self._session.scalar(query) or 0

    # --- instances ------------------------------------------------------------------------------

    def add(self, *rows: object) -> None:
        """Insert rows of this organization, those of a table together."""
        self._session.add_all(rows)
        self._session.flush()

    def instance(self, instance_id: UUID, *, lock: bool = False) -> Instance | None:
        """One instance; locked, it is read anew."""
        query = self._instances().where(Instance.id == instance_id)
        if lock:
            query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
        return self._session.scalars(query).one_or_none()

    def instances(self, *, include_terminated: bool, limit: int) -> Sequence[Instance]:
        """Newest first."""
        query = self._instances().order_by(Instance.requested_at.desc(), Instance.id.desc()).limit(limit)
        if not include_terminated:
            query = query.where(Instance.status != states.TERMINATED)
        return self._session.scalars(query).all()

    def newest_requested_for(self, subject_ids: Sequence[UUID]) -> dict[UUID, Instance]:
        """The newest instance asked for on behalf of each job or replica that ever asked, by its id."""
        rows = self._session.scalars(
            self._instances()
            .where(Instance.requested_for.in_(subject_ids))
            .ext(distinct_on(Instance.requested_for))
            .order_by(Instance.requested_for, Instance.id.desc())
        )
        return {row.requested_for: row for row in rows if row.requested_for is not None}

    def failed_requests(self, subject_id: UUID) -> int:
        """How many instances asked for on behalf of a subject went before they were assigned to it."""
        return (
            self._session.scalar(
                select(func.count()).where(
                    Instance.organization_id == self._organization_id,
                    Instance.requested_for == subject_id,
                    Instance.status.in_((states.TERMINATING, states.TERMINATED)),
                )
            )
            or 0
        )

    def idle(
        self, *, project_id: UUID, instance_type: str, market: str, subject_ids: Sequence[UUID]
    ) -> Sequence[Instance]:
        """Ready instances without an assignment, one for each of these subjects at most, locked against other takers.

        Those asked for on their behalf come first, then those that anybody may take.
        """
        held = select(Hold.id).where(Hold.instance_id == Instance.id, Hold.ended_at.is_(None))
        anybodys = or_(
            Instance.requested_for.is_(None),
            held.exists(),
            Instance.ready_at < func.clock_timestamp() - TAKE_OVER_AFTER,
        )
        asked_for = Instance.requested_for.in_(subject_ids)
        busy = select(Assignment.id).where(Assignment.instance_id == Instance.id, Assignment.ended_at.is_(None))
        found = self._session.scalars(
            self._instances()
            .where(
                Instance.status == states.READY,
                Instance.drain_requested_at.is_(None),
                Instance.interruption_notice.is_(None),
                Instance.project_id == project_id,
                Instance.instance_type == instance_type,
                Instance.market == market,
                ~busy.exists(),
                or_(asked_for, anybodys),
            )
            .order_by(asked_for.desc().nulls_last(), Instance.ready_at)
            .limit(len(subject_ids))
            .with_for_update(skip_locked=True, key_share=True)
        ).all()
        # Taken between the query's snapshot and its lock: a statement of its own sees that.
        taken = self._busy([instance.id for instance in found])
        return [instance for instance in found if instance.id not in taken]

    def _busy(self, instance_ids: Sequence[UUID]) -> set[UUID]:
        if not instance_ids:
            return set()
        return set(
            self._session.scalars(
                select(Assignment.instance_id).where(
                    Assignment.organization_id == self._organization_id,
                    Assignment.instance_id.in_(instance_ids),
                    Assignment.ended_at.is_(None),
                )
            )
        )

    def beat(self, instance_id: UUID) -> None:
        """The agent spoke."""
        now = func.clock_timestamp()
        row = insert(InstanceHeartbeat).values(
            instance_id=instance_id, organization_id=self._organization_id, received_at=now
        )
        self._session.execute(row.on_conflict_do_update(index_elements=["instance_id"], set_={"received_at": now}))

    def heartbeat_age(self, instance_id: UUID) -> float | None:
        """Seconds since the agent last spoke, counting only time the API was up (★7); None = never spoke."""
        return self._session.scalar(
            select(age_seconds(InstanceHeartbeat.received_at)).where(InstanceHeartbeat.instance_id == instance_id)
        )

    def last_heard(self, instance_id: UUID) -> datetime | None:
        """When the agent last spoke."""
        return self._session.scalar(
            select(InstanceHeartbeat.received_at).where(InstanceHeartbeat.instance_id == instance_id)
        )

    def boot_seconds(self, instance_id: UUID) -> float | None:
        """Seconds since the machine was launched, counting only time the API was up; None = not launched."""
        return self._session.scalar(select(age_seconds(Instance.launched_at)).where(Instance.id == instance_id))

    # --- assignments ------------------------------------------------------------------------------

    def assignment(self, assignment_id: UUID, *, lock: bool = False) -> Assignment | None:
        """One assignment."""
        query = select(Assignment).where(
            Assignment.organization_id == self._organization_id, Assignment.id == assignment_id
        )
        return self._session.scalars(query.with_for_update(key_share=True) if lock else query).one_or_none()

    def open_assignments(self, instance_id: UUID) -> Sequence[Assignment]:
        """What the instance should be doing now."""
        return self._session.scalars(
            select(Assignment).where(
                Assignment.organization_id == self._organization_id,
                Assignment.instance_id == instance_id,
                Assignment.ended_at.is_(None),
            )
        ).all()

    def lock_open_assignments(self, instance_id: UUID) -> Sequence[Assignment]:
        """The same, locked. One that its owner holds now is left out: waiting for it could end in a deadlock."""
        return self._session.scalars(
            select(Assignment)
            .where(
                Assignment.organization_id == self._organization_id,
                Assignment.instance_id == instance_id,
                Assignment.ended_at.is_(None),
            )
            .with_for_update(skip_locked=True, key_share=True)
            .execution_options(populate_existing=True)
        ).all()

    def unheard_seconds(self, assignment_id: UUID) -> float:
        """Seconds since the assignment was made, counting only time the API was up."""
        return (
            self._session.scalar(select(age_seconds(Assignment.created_at)).where(Assignment.id == assignment_id))
            or 0.0
        )

    def latest_assignment(self, instance_id: UUID) -> Assignment | None:
        """What the instance did last, or does."""
        return self._session.scalars(
            select(Assignment)
            .where(Assignment.organization_id == self._organization_id, Assignment.instance_id == instance_id)
            .order_by(Assignment.created_at.desc())
            .limit(1)
        ).one_or_none()

    def last_assignment_end(self, instance_id: UUID) -> datetime | None:
        """When the instance's latest assignment ended."""
        return self._session.scalar(
            select(func.max(Assignment.ended_at)).where(
                Assignment.organization_id == self._organization_id, Assignment.instance_id == instance_id
            )
        )

    def beat_assignment(self, assignment_id: UUID, epoch: int, elapsed_seconds: float) -> None:
        """Seconds since the start, as the agent counts them; they never go back within an epoch."""
        now = func.clock_timestamp()
        row = insert(AssignmentHeartbeat).values(
            assignment_id=assignment_id,
            organization_id=self._organization_id,
            epoch=epoch,
            elapsed_seconds=elapsed_seconds,
            received_at=now,
        )
        self._session.execute(
            row.on_conflict_do_update(
                index_elements=["assignment_id"],
                set_={
                    "epoch": row.excluded.epoch,
                    "elapsed_seconds": func.greatest(AssignmentHeartbeat.elapsed_seconds, row.excluded.elapsed_seconds),
                    "received_at": now,
                },
            )
        )

    def assignment_heartbeat(self, assignment_id: UUID) -> tuple[float, float] | None:
        """(elapsed seconds, age in seconds counting only API-up time); None = never heard."""
        row = self._session.execute(
            select(AssignmentHeartbeat.elapsed_seconds, age_seconds(AssignmentHeartbeat.received_at)).where(
                AssignmentHeartbeat.assignment_id == assignment_id
            )
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    # --- reports ----------------------------------------------------------------------------------

    def lock_cursor(self, assignment_id: UUID, epoch: int) -> ReportCursor:
        """The cursor of accepted reports, locked: two deliveries of one agent serialise here."""
        self._session.execute(
            insert(ReportCursor)
            .values(assignment_id=assignment_id, epoch=epoch, organization_id=self._organization_id, last_seq=0)
            .on_conflict_do_nothing()
        )
        return self._session.scalars(
            select(ReportCursor)
            .where(ReportCursor.assignment_id == assignment_id, ReportCursor.epoch == epoch)
            .with_for_update(key_share=True)
        ).one()

    def unapplied_reports(self, assignment_id: UUID) -> Sequence[Report]:
        """Reports no controller has acted on, in order."""
        return self._session.scalars(
            select(Report)
            .where(
                Report.organization_id == self._organization_id,
                Report.assignment_id == assignment_id,
                Report.applied_at.is_(None),
            )
            .order_by(Report.epoch, Report.seq)
        ).all()

    def mark_applied(self, report_ids: Sequence[UUID]) -> None:
        """A controller acted on these."""
        self._session.execute(
            update(Report)
            .where(Report.organization_id == self._organization_id, Report.id.in_(report_ids))
            .values(applied_at=func.clock_timestamp())
        )

    # --- holds ------------------------------------------------------------------------------------

    def open_hold(self, instance_id: UUID) -> Hold | None:
        """The hold that keeps the instance, if any."""
        return self._session.scalars(
            select(Hold)
            .where(
                Hold.organization_id == self._organization_id,
                Hold.instance_id == instance_id,
                Hold.ended_at.is_(None),
            )
            .with_for_update(key_share=True)
        ).one_or_none()

    def open_holds(self, instance_ids: Sequence[UUID]) -> Sequence[Hold]:
        """The holds that keep these instances, locked."""
        return self._session.scalars(
            select(Hold)
            .where(
                Hold.organization_id == self._organization_id,
                Hold.instance_id.in_(instance_ids),
                Hold.ended_at.is_(None),
            )
            .order_by(Hold.instance_id)
            .with_for_update(key_share=True)
        ).all()

    def _instances(self) -> Select[Instance]:
        return select(Instance).where(Instance.organization_id == self._organization_id)


def living_instances(session: Session, provider: str) -> dict[str, tuple[UUID, UUID, str]]:
    """Unscoped, for the reconciler: tag → (id, organization, status) of rows the provider may still know."""
    rows = session.execute(
        select(Instance.tag, Instance.id, Instance.organization_id, Instance.status).where(
            Instance.provider == provider, Instance.status != states.TERMINATED
        )
    )
    return {row.tag: (row.id, row.organization_id, row.status) for row in rows}


def age_seconds(since: ColumnElement[datetime] | InstrumentedAttribute[datetime | None]) -> Extract:
    """Seconds since then. The clock starts anew with the API and stands still while the API does not beat (★7)."""
    up_since = select(ApiUptime.up_since).where(ApiUptime.id == 1).scalar_subquery()
    beat_at = select(ApiUptime.beat_at).where(ApiUptime.id == 1).scalar_subquery()
    now = func.clock_timestamp()
    # GREATEST and LEAST ignore NULL: an API that never beat counts as always up.
    counted = func.least(now, beat_at + STILL_UP) - func.greatest(since, up_since)
    return func.extract("epoch", func.greatest(counted, timedelta(0)))
