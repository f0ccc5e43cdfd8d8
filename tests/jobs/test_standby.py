"""When an idle instance is told to keep a process ready, and for what."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, update

from backend.core import wire
from backend.core.db import Database
from backend.fleet.models import Instance
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand

pytestmark = pytest.mark.integration

Submit = Callable[..., dict[str, Any]]
RunJobs = Callable[..., None]


def test_an_instance_that_nobody_asked_for_keeps_nothing_ready(
    tenant: Tenant, ready_instance: Callable[..., Hand]
) -> None:
    assert ready_instance(tenant).sync().standby is None


def test_asked_for_then_working_then_held_then_drained(
    tenant: Tenant,
    ready_instance: Callable[..., Hand],
    submit: Submit,
    run_jobs: RunJobs,
    controller_database: Database,
) -> None:
    hand = ready_instance(tenant)
    job = submit(tenant, keep_alive_seconds=60)

    def change(**values: Any) -> None:
        with controller_database.unit_of_work() as session:
            session.execute(update(Instance).where(Instance.id == hand.instance_id).values(**values))

    change(requested_for=UUID(job["id"]))
    asked = hand.sync().standby
    run_jobs(tenant)
    reply = hand.sync()
    (assignment,) = reply.assignments
    assert reply.standby is None
    spec = assignment.attempt
    assert spec is not None
    assert asked == wire.Standby(
        entrypoint=spec.entrypoint,
        memory_limit_bytes=spec.memory_limit_bytes,
        cpu_count=spec.cpu_count,
        process_limit=spec.process_limit,
        disk_limit_bytes=spec.disk_limit_bytes,
    )
    hand.sync(wire.Started(pid=1), assignment=assignment)
    run_jobs(tenant)
    done = wire.ResultSaved(files=[], summary={})
    hand.sync(done, wire.Ended(outcome="completed"), assignment=assignment, elapsed=1.0)
    run_jobs(tenant)
    reply = hand.sync()
    assert reply.assignments == []
    assert reply.standby == asked
    change(drain_requested_at=func.clock_timestamp() - timedelta(seconds=1))
    reply = hand.sync()
    assert (reply.standby, reply.drain) == (None, True)
