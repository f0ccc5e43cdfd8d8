"""What the engine asks of a kind of job, and the kinds of this build.

A kind lives in a room of its own above the engine and registers itself; the engine never names one.
"""

from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.core.wire import Channel, ResultSaved
from backend.jobs.errors import JobKindUnknown
from backend.jobs.models import Attempt, Job


class JobKind(Protocol):
    """One kind of job."""

    name: str
    entrypoint: str
    """Module that the agent runs in the sandbox."""

    def check(self, session: Session, scope: Scope, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Raises NotFound where an input is none of this organization's; the schema has checked the rest."""

    def channels(self, session: Session, scope: Scope, job: Job) -> list[Channel]:
        """The inputs an attempt fetches, by channel."""

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, job: Job) -> frozenset[str]:
        """Digests an attempt of this job may read beside the files of its channels."""

    def complete(
        self, session: Session, scope: Scope, job: Job, attempt: Attempt, result: ResultSaved
    ) -> dict[str, Any]:
        """Make of the result what the kind makes; returns the job's output. Idempotent. Raises ResultUnusable."""


_KINDS: dict[str, JobKind] = {}


def register(kind: JobKind) -> None:
    """Add a kind; the same name again replaces it."""
    _KINDS[kind.name] = kind


def names() -> list[str]:
    """The names of the kinds of this build."""
    return sorted(_KINDS)


def kind_of(name: str) -> JobKind:
    """The kind of this name. Raises JobKindUnknown."""
    try:
        return _KINDS[name]
    except KeyError:
        raise JobKindUnknown(f"there is no job kind '{name}', only {', '.join(sorted(_KINDS))}") from None


def input_id(inputs: Mapping[str, Any], channel: str) -> UUID:
    """The id of one input of a job row."""
    return UUID(inputs[channel]["id"])
