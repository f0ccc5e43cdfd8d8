"""The row is the queue (★2): lease due rows in batches, act with no session open, record with a guard.

    claim()     one transaction: due rows, oldest first, SKIP LOCKED, a fresh lease token and expiry
    … act, no session open …
    renew()      before acting on a row late in its batch: the full lease again
    load_leased(), finish()   one transaction, guarded by the token; None = somebody else owns it, drop the result
    load_leased_many()        the same for a batch: what somebody else owns by now is left out

A look that needs nothing from outside takes no lease at all: lock_due() and postpone() in one transaction, guarded by
the row locks. Most looks are of this kind: nothing has happened.

A row is eligible when `due_at <= now` and its lease is absent or expired; both by Postgres's clock.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

Row = TypeVar("Row", bound=Any)  # any Leased, tenant-owned row


@dataclass(frozen=True)
class Lease:
    """A claim on one row until it expires or is finished."""

    row_id: UUID
    organization_id: UUID
    token: UUID
    due_at: datetime
    """When the row was due at the claim; a different value later means somebody rang meanwhile."""


def claim(
    session: Session,
    model: type[Row],
    *,
    lease_seconds: float,
    limit: int,
    where: ColumnElement[bool] | None = None,
) -> list[Lease]:
    """Lease up to `limit` due rows, oldest due first. Rows another controller holds are skipped."""
    now = func.clock_timestamp()
    ids = lock_due(session, model, limit=limit, where=where)
    if not ids:
        return []
    rows = session.execute(
        update(model)
        .where(model.id.in_(ids))
        .values(lease_token=func.gen_random_uuid(), lease_expires_at=now + timedelta(seconds=lease_seconds))
        .returning(model.id, model.organization_id, model.lease_token, model.due_at)
        .execution_options(synchronize_session=False)
    ).all()
    by_id = {row.id: Lease(row.id, row.organization_id, row.lease_token, row.due_at) for row in rows}
    return [by_id[row_id] for row_id in ids if row_id in by_id]


def lock_due(
    session: Session, model: type[Row], *, limit: int, where: ColumnElement[bool] | None = None
) -> Sequence[UUID]:
    """Lock up to `limit` due rows that nobody leases until the transaction ends, oldest due first; their ids.

    What an agent or a user commits before is seen by the next statement, what comes later waits and then makes the
    row due anew.
    """
    # statement_timestamp() is stable, so the index on due_at can be entered with it; clock_timestamp() is not.
    instant = func.statement_timestamp()
    eligible = and_(
        model.due_at <= instant,
        or_(model.lease_token.is_(None), model.lease_expires_at <= instant),
    )
    return session.scalars(
        select(model.id)
        .where(eligible if where is None else and_(eligible, where))
        .order_by(model.due_at, model.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()


def postpone(session: Session, model: type[Row], row_ids: Collection[UUID], *, seconds: float) -> None:
    """Rows that `lock_due` returned and that need nothing now: look at them again in so many seconds."""
    if row_ids:
        session.execute(
            update(model)
            .where(model.id.in_(row_ids))
            .values(due_at=func.clock_timestamp() + timedelta(seconds=seconds), lease_token=None, lease_expires_at=None)
            .execution_options(synchronize_session=False)
        )


def load_leased(session: Session, model: type[Row], lease: Lease) -> Row | None:
    """The row, locked, if the lease still holds; None when somebody else owns it."""
    return session.scalars(
        select(model)
        .where(
            model.id == lease.row_id,
            model.lease_token == lease.token,
            model.lease_expires_at > func.clock_timestamp(),
        )
        .with_for_update(key_share=True)
    ).one_or_none()


def load_leased_many(session: Session, model: type[Row], leases: Sequence[Lease]) -> list[tuple[Row, Lease]]:
    """The rows whose leases still hold, locked, in the order of `leases`."""
    rows = session.scalars(
        select(model)
        .where(
            model.id.in_([lease.row_id for lease in leases]),
            model.lease_token.in_([lease.token for lease in leases]),
            model.lease_expires_at > func.clock_timestamp(),
        )
        .order_by(model.id)
        .with_for_update(key_share=True)
    )
    held = {(row.id, row.lease_token): row for row in rows}
    return [(held[key], lease) for lease in leases if (key := (lease.row_id, lease.token)) in held]


def renew(row: Any, *, lease_seconds: float) -> None:  # noqa: ANN401 - any Leased row
    """Start the lease anew on a row that `load_leased` returned: a batch may have waited long for its turn."""
    row.lease_expires_at = func.clock_timestamp() + timedelta(seconds=lease_seconds)


def finish(row: Any, lease: Lease, *, due_at: datetime | None) -> None:  # noqa: ANN401 - any Leased row
    """Give the lease back on a row that `load_leased` returned; `due_at` says when to look again.

    An intent or a report that came while the lease was held made the row due anew: that is kept.
    """
    row.lease_token = None
    row.lease_expires_at = None
    if row.due_at == lease.due_at:
        row.due_at = due_at


def release(session: Session, model: type[Row], lease: Lease, *, due_at: datetime) -> bool:
    """Give a lease back without having loaded the row. False = it was no longer ours."""
    done = session.execute(
        update(model)
        .where(model.id == lease.row_id, model.lease_token == lease.token)
        .values(
            lease_token=None,
            lease_expires_at=None,
            due_at=case((model.due_at == lease.due_at, due_at), else_=model.due_at),
        )
        .execution_options(synchronize_session=False)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]  # an UPDATE's result has a rowcount


def make_due(session: Session, model: type[Row], row_ids: Sequence[UUID]) -> None:
    """An intent or a report arrived: the rows are due now. The lease, if any, stays with its holder."""
    if row_ids:
        session.execute(
            update(model)
            .where(model.id.in_(row_ids))
            .values(due_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
