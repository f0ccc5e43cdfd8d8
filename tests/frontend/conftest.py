"""A real tenant with members and a job that ran, as the engine would have written it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.orm import Session

from backend.core.crypto import new_token
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.settings import SecuritySettings, Settings
from backend.core.storage import ObjectStore
from backend.core.wire import Logs
from backend.fleet.models import Instance, InstanceType
from backend.fleet.sync import log_key
from backend.identity.models import Membership, User
from backend.identity.security import Security, make_security
from backend.jobs import states
from backend.jobs.models import Attempt, Job, LogChunk, MetricChunk
from frontend.app import mount
from frontend.backstage import Backstage
from frontend.services import Services
from tests.fixtures.database import Tenant
from tests.frontend.spending import Spender

PASSWORD = "a password of many words"
STEPS = list(range(0, 100, 10))


@dataclass(frozen=True)
class Member:
    """A person who can log in."""

    tenant: Tenant
    email: str
    user_id: UUID


@pytest.fixture
def cheap_security() -> Security:
    """Identity's tools, with a password hash that costs little."""
    key = SecretStr("A" * 43 + "=")
    return make_security(SecuritySettings(master_key=key, argon2_memory_kib=64, argon2_iterations=1))


@pytest.fixture
def storage(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path / 'objects'}")


@pytest.fixture
def services(app_database: Database, storage: ObjectStore, cheap_security: Security) -> Services:
    return Services(app_database, storage, cheap_security)


@pytest.fixture
def backstage(
    app_database: Database,
    operator_database: Database,
    storage: ObjectStore,
    cheap_security: Security,
    tmp_path: Path,
) -> Backstage:
    """What the rooms' handlers reach, over the test's database and a storage of its own."""
    settings = Settings(environment="test", home=tmp_path / "home")
    return Backstage(app_database, storage, cheap_security, settings, operator_database)


@pytest.fixture
def site(services: Services, backstage: Backstage) -> FastAPI:
    """The dashboard mounted beside another route, as the composition root does it."""
    app = FastAPI()
    mount(app, services, secret=b"k" * 32, backstage=backstage)
    return app


@pytest.fixture
def make_member(
    controller_database: Database, cheap_security: Security, make_tenant: Callable[[], Tenant]
) -> Callable[..., Member]:
    """Make a member of a new tenant, in a role."""

    def make(role: str = "owner") -> Member:
        tenant, user_id = make_tenant(), new_id()
        email = f"{user_id}@example.com"
        with controller_database.unit_of_work() as session:
            stored = cheap_security.passwords.hash(PASSWORD)
            session.add(User(id=user_id, email=email, full_name="Ada Owner", password_hash=stored))
            session.flush()
            session.add(Membership(organization_id=tenant.organization_id, user_id=user_id, role=role))
        return Member(tenant, email, user_id)

    return make


@pytest.fixture
def make_job(app_database: Database, controller_database: Database, storage: ObjectStore) -> Callable[..., UUID]:
    """Make a job of a tenant, in a status; one that began has an attempt, curves and a log."""

    def make(tenant: Tenant, name: str, status: str = states.RUNNING) -> UUID:
        shape = f"test.{new_token('shape')[-12:]}"
        with controller_database.unit_of_work() as session:
            session.add(InstanceType(name=shape, provider="local", vcpus=1.0, memory_bytes=2**30, description="test"))
        with app_database.unit_of_work(tenant.scope) as session:
            job = _job(tenant, name, status, shape)
            session.add(job)
            session.flush()
            if status != states.QUEUED:
                _attempt(session, storage, tenant, job)
            return job.id

    return make


@pytest.fixture
def spender(app_database: Database, controller_database: Database) -> Callable[[Tenant], Spender]:
    """Make a tenant's spender: what it uses is charged by the second."""
    return lambda tenant: Spender(app_database, controller_database, tenant)


def _job(tenant: Tenant, name: str, status: str, shape: str) -> Job:
    now = datetime.now(UTC)
    began = status != states.QUEUED
    return Job(
        id=new_id(),
        organization_id=tenant.organization_id,
        project_id=tenant.project_id,
        kind="sleep",
        name=name,
        parameters={"seconds": 30},
        inputs={},
        instance_type=shape,
        market="on-demand",
        max_attempts=3,
        max_runtime_seconds=600,
        keep_alive_seconds=0,
        status=status,
        status_reason="waiting for placement" if not began else "attempt 1 runs",
        created_by="user:somebody",
        progress={"step": 90, "total_steps": 300, "phase": "epoch 2 of 6"} if began else {},
        started_at=now - timedelta(seconds=90) if began else None,
        ended_at=now if status in states.FINAL else None,
    )


def _attempt(session: Session, storage: ObjectStore, tenant: Tenant, job: Job) -> None:
    own = {"organization_id": tenant.organization_id}
    instance = Instance(
        id=new_id(), project_id=tenant.project_id, instance_type=job.instance_type, market="on-demand",
        provider="local", tag=new_token("tag"), status="ready", status_reason="", **own,
    )  # fmt: skip
    session.add(instance)
    session.flush()
    attempt = Attempt(
        id=new_id(), job_id=job.id, number=1, instance_id=instance.id, assignment_id=new_id(),
        status=job.status, status_reason="its process runs", started_at=job.started_at, ended_at=job.ended_at, **own,
    )  # fmt: skip
    session.add(attempt)
    session.flush()
    at = [datetime.now(UTC).timestamp() - 90 + step for step in STEPS]
    for name, values in {
        "train/loss": [2.3 / (step + 1) for step in STEPS],
        "validation/accuracy": [step / 100 for step in STEPS],
    }.items():
        session.add(
            MetricChunk(job_id=job.id, attempt_id=attempt.id, epoch=1, seq=1, name=name, steps=STEPS,
                        values=values, times=at, **own)
        )  # fmt: skip
    write_log(session, storage, tenant, attempt, seq=2, lines=["first line", "second <b>line</b>"])


def write_log(
    session: Session, storage: ObjectStore, tenant: Tenant, attempt: Attempt, *, seq: int, lines: list[str]
) -> None:
    """One chunk of a log, in storage and as a row."""
    key = log_key(tenant.organization_id, str(attempt.assignment_id), 1, seq)
    times = [datetime.now(UTC).timestamp()] * len(lines)
    storage.put(key, msgspec.json.encode(Logs(lines=lines, times=times)))
    session.add(
        LogChunk(organization_id=tenant.organization_id, job_id=attempt.job_id, attempt_id=attempt.id,
                 attempt_number=1, epoch=1, seq=seq, line_count=len(lines), size_bytes=20, storage_key=key)
    )  # fmt: skip
