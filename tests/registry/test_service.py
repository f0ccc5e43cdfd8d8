"""Registering model versions: numbering without gaps, once per job, only what is stored."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from backend.core.db import Database, act_as
from backend.core.ids import new_id
from backend.core.wire import FileRef
from backend.datasets.service import record_blob
from backend.fleet.models import InstanceType
from backend.jobs.models import Job
from backend.projects.models import Project
from backend.registry.errors import ArtifactInvalid, ModelNameTaken, ModelVersionNotFound
from backend.registry.models import ModelVersion
from backend.registry.service import get_version, model_channel, register_version
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


def artifact(seed: str = "weights") -> list[FileRef]:
    return [
        FileRef(name=name, sha256=hashlib.sha256(f"{seed}{name}".encode()).hexdigest(), size_bytes=size)
        for name, size in (("model.onnx", 1000), ("model.safetensors", 900), ("signature.json", 80))
    ]


def register(session: Session, tenant: Tenant, **changes: Any) -> ModelVersion:
    values: dict[str, Any] = {
        "project_id": tenant.project_id,
        "model_name": "digits",
        "files": artifact(),
        "signature": {"inputs": [], "outputs": []},
        "metrics": {"accuracy": 0.98},
        "report": {},
        "job_id": None,
        "attempt_id": None,
        "dataset_version_id": None,
        "parent_version_id": None,
        "created_by": "user:1",
    }
    for file in artifact():
        record_blob(session, tenant.scope, file.sha256, file.size_bytes)
    return register_version(session, tenant.scope, **{**values, **changes})


@pytest.mark.parametrize(
    "said",
    [
        {"signature": []},
        {"signature": {"inputs": []}},
        {"signature": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [[1]]}], "outputs": []}},
        {"metrics": ["accuracy"]},
        {"metrics": None},
        {"report": "fine"},
    ],
)
def test_what_a_job_says_has_its_form(tenant_session: Session, tenant: Tenant, said: dict[str, Any]) -> None:
    with pytest.raises(ArtifactInvalid):
        register(tenant_session, tenant, **said)


def make_job(controller_database: Database, tenant: Tenant) -> UUID:
    job_id = new_id()
    with controller_database.unit_of_work() as session:
        session.merge(
            InstanceType(name="test.registry", provider="local", vcpus=1, memory_bytes=1 << 30, description="")
        )
        session.flush()
        session.add(
            Job(
                id=job_id,
                organization_id=tenant.organization_id,
                project_id=tenant.project_id,
                kind="sleeping",
                name=f"job {job_id}",
                parameters={},
                inputs={},
                instance_type="test.registry",
                market="on-demand",
                max_attempts=1,
                max_runtime_seconds=60,
                keep_alive_seconds=0,
                status="running",
                status_reason="",
                created_by="user:1",
            )
        )
    return job_id


def test_first_version_makes_the_model(tenant_session: Session, tenant: Tenant) -> None:
    version = register(tenant_session, tenant)
    assert (version.number, version.approval_status, version.size_bytes) == (1, "pending", 1000)
    assert get_version(tenant_session, tenant.scope, version.id).model_id == version.model_id
    channel = model_channel(tenant_session, tenant.scope, version.id)
    assert (channel.name, channel.kind, channel.files) == ("model", "model", artifact())


def test_registering_twice_for_a_job_changes_nothing(
    controller_database: Database, app_database: Database, tenant: Tenant
) -> None:
    job_id = make_job(controller_database, tenant)
    with app_database.unit_of_work(tenant.scope) as session:
        first = register(session, tenant, job_id=job_id)
    with app_database.unit_of_work(tenant.scope) as session:
        again = register(session, tenant, job_id=job_id, metrics={"accuracy": 0.1})
        assert (again.id, again.metrics) == (first.id, {"accuracy": 0.98})
        assert register(session, tenant).number == 2


def test_concurrent_versions_are_numbered_without_gaps(app_database: Database, tenant: Tenant) -> None:
    def one(_: int) -> int:
        with app_database.unit_of_work(tenant.scope) as session:
            return register(session, tenant).number

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(one, range(18))) == list(range(1, 19))


def test_concurrent_registrations_of_one_job_make_one_version(
    controller_database: Database, app_database: Database, tenant: Tenant
) -> None:
    job_id = make_job(controller_database, tenant)

    def one(_: int) -> UUID:
        with app_database.unit_of_work(tenant.scope) as session:
            return register(session, tenant, job_id=job_id).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(one, range(8)))) == 1


def test_a_controller_registers_for_a_tenant(controller_database: Database, tenant: Tenant) -> None:
    with controller_database.unit_of_work() as session:
        act_as(session, tenant.organization_id)
        assert register(session, tenant).number == 1


def test_files_must_be_stored_and_served(tenant_session: Session, tenant: Tenant) -> None:
    with pytest.raises(ArtifactInvalid, match=r"not stored: model\.onnx, model\.safetensors, signature\.json"):
        register(tenant_session, tenant, files=artifact("never uploaded"))
    with pytest.raises(ArtifactInvalid, match=r"no model\.onnx"):
        register(tenant_session, tenant, files=artifact()[1:])
    with pytest.raises(ArtifactInvalid, match="same name"):
        register(tenant_session, tenant, files=artifact() + artifact())


def test_a_name_belongs_to_one_project(tenant_session: Session, tenant: Tenant) -> None:
    register(tenant_session, tenant)
    other = Project(id=new_id(), organization_id=tenant.organization_id, name="other", description="")
    tenant_session.add(other)
    tenant_session.flush()
    with pytest.raises(ModelNameTaken):
        register(tenant_session, tenant, project_id=other.id)


def test_foreign_versions_do_not_exist(app_database: Database, make_tenant: Callable[[], Tenant]) -> None:
    mine, other = make_tenant(), make_tenant()
    with app_database.unit_of_work(other.scope) as session:
        theirs = register(session, other).id
    with app_database.unit_of_work(mine.scope) as session:
        for look in (get_version, model_channel):
            with pytest.raises(ModelVersionNotFound):
                look(session, mine.scope, theirs)
        assert register(session, mine).number == 1
