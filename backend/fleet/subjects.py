"""What can be assigned to an instance registers here: `attempt` (jobs) and `replica` (endpoints)."""

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.core.wire import Report
from backend.fleet.models import Assignment


class Subject(Protocol):
    """The owner of one kind of assignment."""

    def on_reports(self, session: Session, scope: Scope, assignment: Assignment, reports: Sequence[Report]) -> None:
        """Newly accepted reports, in the transaction that accepts them: store, mark due, ring."""

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, assignment: Assignment) -> frozenset[str]:
        """Digests of all blobs that this assignment may read."""


OnReady = Callable[[Session, Scope, UUID], None]

_SUBJECTS: dict[str, Subject] = {}
_LISTENERS: list[OnReady] = []


def register(kind: str, subject: Subject) -> None:
    """Make `subject` the owner of assignments of this kind."""
    _SUBJECTS[kind] = subject


def owner_of(assignment: Assignment) -> Subject:
    """The owner of this assignment. Raises KeyError when its room was not composed in."""
    return _SUBJECTS[assignment.subject_kind]


def listen(callback: OnReady) -> None:
    """Call back when the instance that was requested for a subject became ready or is going."""
    if callback not in _LISTENERS:
        _LISTENERS.append(callback)


def tell(session: Session, scope: Scope, subject_id: UUID | None) -> None:
    """The instance requested for this subject changed: its owner should look now."""
    if subject_id is not None:
        for callback in _LISTENERS:
            callback(session, scope, subject_id)
