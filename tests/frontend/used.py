"""What an attempt used, as its agent would have said it: rows for tests of the pages that show it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.core import wire
from backend.core.db import Database
from backend.fleet.models import Assignment
from backend.fleet.utilisation import store_utilisation
from backend.jobs.models import Attempt, Job
from tests.fixtures.database import Tenant

GIB = 1 << 30
Uses = Callable[..., None]


def samples(first: float, count: int, **changes: Any) -> wire.Utilisation:
    """A sample a second: 1.9 of 2 cores, memory that rises to 3 of 4 GiB, a disk that reads at first."""
    columns: dict[str, Any] = {
        "cpu_count": 2.0,
        "memory_limit_bytes": 4 * GIB,
        "times": [first + second + 1 for second in range(count)],
        "spans": [1.0] * count,
        "cpu_cores": [1.9] * count,
        "memory_bytes": [GIB + 2 * GIB * (second + 1) / count for second in range(count)],
        "read_bytes_per_second": [float(32 << 20) if second < 4 else 0.0 for second in range(count)],
        "written_bytes_per_second": [float(8 << 20) if second % 15 == 14 else 0.0 for second in range(count)],
    }
    return wire.Utilisation(**(columns | changes))


def add_use(session: Session, tenant: Tenant, job: Job, attempt: Attempt, said: wire.Utilisation) -> None:
    """An attempt's assignment, and one report about it."""
    assignment = Assignment(
        id=attempt.assignment_id, organization_id=tenant.organization_id, instance_id=attempt.instance_id,
        subject_kind="attempt", subject_id=attempt.id, project_id=tenant.project_id, resource_kind="job",
        resource_id=job.id, resource_name=job.name, epoch=1, desired="run", spec={}, started_at=attempt.started_at,
        ended_at=attempt.ended_at,
    )  # fmt: skip
    session.add(assignment)
    session.flush()
    report = wire.Report(assignment_id=str(assignment.id), epoch=1, seq=1, elapsed_seconds=1.0, body=said)
    store_utilisation(session, tenant.scope, assignment, report, said)


@pytest.fixture
def uses(app_database: Database) -> Uses:
    """Say what the attempt of a job of `make_job` used: `count` samples from its start on, some columns changed."""

    def make(tenant: Tenant, job_id: UUID, *, count: int = 80, **changes: Any) -> None:
        with app_database.unit_of_work(tenant.scope) as session:
            job = session.scalars(select(Job).where(Job.id == job_id)).one()
            attempt = session.scalars(select(Attempt).where(Attempt.job_id == job_id)).one()
            assert attempt.started_at is not None
            job.created_at = attempt.started_at - timedelta(seconds=12)
            add_use(session, tenant, job, attempt, samples(attempt.started_at.timestamp(), count, **changes))

    return make
