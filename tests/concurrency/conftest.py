"""The place where things happen at once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.endpoints.models import Endpoint
from backend.fleet.models import InstanceType
from tests.concurrency.place import Place
from tests.endpoints.conftest import TYPE, World
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand
from worker.context import ControlContext


@pytest.fixture
def place(
    *,
    app: FastAPI,
    app_database: Database,
    controller_database: Database,
    context: ControlContext,
    tenant: Tenant,
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    run_jobs: Callable[..., None],
) -> Iterator[Place]:
    """The test's tenant and all that may act on it; afterwards no endpoint of it is due."""
    with controller_database.unit_of_work() as session:
        for name in (TYPE, SHAPE):
            session.merge(InstanceType(name=name, provider="test", vcpus=1, memory_bytes=2**30, gpus=0, description=""))
    yield Place(
        app=app,
        app_database=app_database,
        controller_database=controller_database,
        context=context,
        tenant=tenant,
        make_tenant=make_tenant,
        make_client=make_client,
        submit=submit,
        ready_instance=ready_instance,
        run_jobs=run_jobs,
        world=World(tenant, app_database, controller_database, context),
    )
    with controller_database.unit_of_work() as session:
        mine = Endpoint.organization_id == tenant.organization_id
        session.execute(update(Endpoint).where(mine).values(due_at=None, lease_token=None))
