"""The kind that only sleeps: a diagnostic job that exercises queue, placement, agent, sandbox and bill."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.core.wire import Channel, ResultSaved
from backend.jobs.models import Attempt, Job


class SleepKind:
    """parameters: seconds (0 to 3600), fail_with (text to fail with), memory_bytes (to allocate)."""

    name = "sleep"
    entrypoint = "worker.sleeping"

    def check(self, session: Session, scope: Scope, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """It has no inputs; the schema has checked the parameters."""
        del session, scope, parameters, inputs

    def channels(self, session: Session, scope: Scope, job: Job) -> list[Channel]:
        """None."""
        del session, scope, job
        return []

    def readable(self, session: Session, storage: ObjectStore, scope: Scope, job: Job) -> frozenset[str]:
        """It has no inputs."""
        del session, storage, scope, job
        return frozenset()

    def complete(
        self, session: Session, scope: Scope, job: Job, attempt: Attempt, result: ResultSaved
    ) -> dict[str, Any]:
        """Keep its summary."""
        del session, scope, job, attempt
        return {"summary": result.summary}
