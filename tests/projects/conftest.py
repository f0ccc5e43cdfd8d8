"""Something to put into a project."""

from collections.abc import Callable

import pytest

from backend.core.db import Database
from backend.fleet.models import InstanceType
from backend.jobs.models import Job
from tests.fixtures.database import Tenant


@pytest.fixture
def add_job(controller_database: Database) -> Callable[[Tenant], None]:
    """Put one ended job into a tenant's project."""

    def add(tenant: Tenant) -> None:
        with controller_database.unit_of_work() as session:
            session.merge(InstanceType(name="test.projects", provider="local", vcpus=1, memory_bytes=1, description=""))
            session.flush()
            session.add(
                Job(
                    organization_id=tenant.organization_id,
                    project_id=tenant.project_id,
                    kind="sleeping",
                    name="nap",
                    parameters={},
                    inputs={},
                    instance_type="test.projects",
                    market="on-demand",
                    max_attempts=1,
                    max_runtime_seconds=1,
                    keep_alive_seconds=0,
                    status="completed",
                    status_reason="",
                    created_by="test",
                )
            )

    return add
