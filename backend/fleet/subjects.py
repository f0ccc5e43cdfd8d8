"""What can be assigned to an instance registers here: `attempt` (jobs) and `replica` (endpoints)."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.core.wire import Report
from backend.fleet.models import Assignment


class Subject(Protocol):
    """The owner of one kind of assignment."""

    def on_reports(
        self, session: Session, scope: Scope, assignment: Assignment, reports: Sequence[Report]
    ) -> None:
        """Newly accepted reports, in the transaction that accepts them: store, mark due, ring."""

    def readable(
        self, session: Session, storage: ObjectStore, scope: Scope, assignment: Assignment, sha256: str
    ) -> bool:
        """Whether this assignment may read this blob."""


_SUBJECTS: dict[str, Subject] = {}


def register(kind: str, subject: Subject) -> None:
    """Make `subject` the owner of assignments of this kind."""
    _SUBJECTS[kind] = subject


def owner_of(assignment: Assignment) -> Subject:
    """The owner of this assignment. Raises KeyError when its room was not composed in."""
    return _SUBJECTS[assignment.subject_kind]
