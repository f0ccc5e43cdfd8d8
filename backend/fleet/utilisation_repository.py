"""SQL of what assignments used: within one organization, and the controller's sweep over all of them."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.fleet.models import UtilisationChunk

LIMITS = ("cpu_count", "memory_limit_bytes", "gpu_count", "gpu_memory_limit_bytes")
MEANS = ("cpu_cores", "read_bytes_per_second", "written_bytes_per_second", "gpu_share")
HELD = ("memory_bytes", "gpu_memory_bytes")
COLUMNS = ("times", "spans", *MEANS, *HELD)


class UtilisationRepository:
    """Samples of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    def add(self, chunk: UtilisationChunk) -> None:
        """Insert one report's samples."""
        self._session.add(chunk)
        self._session.flush()

    def chunks(self, assignment_ids: Collection[UUID]) -> Sequence[Row[*tuple[Any, ...]]]:
        """`assignment_id`, `LIMITS` and `COLUMNS` of every report of these, as they were said."""
        query = select(
            UtilisationChunk.assignment_id, *(getattr(UtilisationChunk, name) for name in (*LIMITS, *COLUMNS))
        ).where(
            UtilisationChunk.organization_id == self._organization_id,
            UtilisationChunk.assignment_id.in_(assignment_ids),
        )
        order = (UtilisationChunk.assignment_id, UtilisationChunk.epoch, UtilisationChunk.seq)
        return self._session.execute(query.order_by(*order)).all()


def delete_before(session: Session, oldest: UUID, *, limit: int) -> int:
    """Unscoped, for the controller: delete up to `limit` reports made before this id; returns how many."""
    old = select(UtilisationChunk.id).where(UtilisationChunk.id < oldest).order_by(UtilisationChunk.id).limit(limit)
    gone: Any = session.execute(
        delete(UtilisationChunk).where(UtilisationChunk.id.in_(old)).execution_options(synchronize_session=False)
    )
    return int(gone.rowcount)
