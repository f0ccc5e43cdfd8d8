"""What tests of the training room stand on: a member who may train, a frozen version, a job that ran."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend import kinds
from backend.core.db import Database
from backend.core.ids import new_id
from backend.datasets.models import Dataset, DatasetVersion
from backend.fleet.models import InstanceType
from backend.jobs import states
from backend.jobs.models import Job
from tests.fixtures.database import Tenant
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.test_pages import parse

HTML = {"Accept": "text/html"}
SHAPE = "test.training"


@pytest.fixture(autouse=True, scope="module")
def known_kinds() -> None:
    kinds.install()


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member("developer")


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


@pytest.fixture
def version(member: Member, freeze: Callable[[Tenant], UUID]) -> UUID:
    return freeze(member.tenant)


def enter(visitor: TestClient, member: Member) -> dict[str, str]:
    """Log in; what every form of the session carries."""
    form = parse(visitor.get("/login").text).fields
    assert visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD}).status_code == 303
    return {"csrf_token": parse(visitor.get("/training").text).fields["csrf_token"]}


@pytest.fixture
def freeze(app_database: Database, controller_database: Database) -> Callable[..., UUID]:
    """A frozen version of a dataset (of images), and an instance type to train on."""

    def make(tenant: Tenant, kind: str = "image") -> UUID:
        own: dict[str, Any] = {"organization_id": tenant.organization_id}
        with controller_database.unit_of_work() as session:
            session.merge(InstanceType(name=SHAPE, provider="local", vcpus=1.0, memory_bytes=2**30, description=""))
        with app_database.unit_of_work(tenant.scope) as session:
            dataset = Dataset(id=new_id(), project_id=tenant.project_id, name="digits", kind=kind, description="",
                              created_by="user:somebody", **own)  # fmt: skip
            session.add(dataset)
            session.flush()
            version = DatasetVersion(
                id=new_id(), dataset_id=dataset.id, number=1, manifest_sha256="0" * 64, manifest_bytes=1, file_count=40,
                size_bytes=4000, classes={}, splits={"train": 40}, split_seed=0, created_by="user:somebody", kind=kind,
                **own,
            )  # fmt: skip
            session.add(version)
            return version.id

    return make


@pytest.fixture
def ran(app_database: Database) -> Callable[..., None]:
    """A training that completed in so many seconds."""

    def make(member: Member, version: UUID, *, seconds: float, epochs: int) -> None:
        ended = datetime.now(UTC)
        with app_database.unit_of_work(member.tenant.scope) as session:
            session.add(
                Job(
                    id=new_id(), organization_id=member.tenant.organization_id, project_id=member.tenant.project_id,
                    kind="training", name=f"past-{new_id()}", parameters={"hyperparameters": {"epochs": epochs}},
                    inputs={"training": {"kind": "dataset", "id": str(version)}}, instance_type=SHAPE,
                    market="on-demand", max_attempts=3, attempt_count=1, max_runtime_seconds=600, keep_alive_seconds=0,
                    status=states.COMPLETED, status_reason="completed", created_by="user:somebody",
                    started_at=ended - timedelta(seconds=seconds), ended_at=ended,
                )
            )  # fmt: skip

    return make
