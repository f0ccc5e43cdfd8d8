"""The kind that only sleeps: a diagnostic job that exercises queue, placement, agent, sandbox and bill."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.core.wire import Channel, ResultSaved
from backend.jobs.errors import InputInvalid, ParametersInvalid
from backend.jobs.models import Attempt, Job

MAX_SECONDS = 3600
PARAMETERS = frozenset({"seconds", "fail_with", "memory_bytes"})


class SleepKind:
    """parameters: seconds (0 to 3600), fail_with (text to fail with), memory_bytes (to allocate)."""

    name = "sleep"
    entrypoint = "worker.sleeping"

    def check(self, session: Session, scope: Scope, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Numbers in range, nothing unknown, no inputs."""
        del session, scope
        unknown = sorted(set(parameters) - PARAMETERS)
        if unknown:
            raise ParametersInvalid(f"a sleep job takes no parameter '{unknown[0]}'")
        seconds = parameters.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
            raise ParametersInvalid(f"seconds must be a number from 0 to {MAX_SECONDS}")
        fail_with = parameters.get("fail_with")
        if fail_with is not None and not isinstance(fail_with, str):
            raise ParametersInvalid("fail_with must be text")
        memory = parameters.get("memory_bytes", 0)
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 0:
            raise ParametersInvalid("memory_bytes must be a whole number, 0 or more")
        if inputs:
            raise InputInvalid("a sleep job takes no inputs")

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
