"""What benchmarks of the API stand on: durable embedded servers, databases of their own, and real API processes.

    with Stack() as stack:
        site = stack.site("many")            # a migrated database
        tenant = site.tenant("acme")         # organization, project, owner's key
        with site.api() as api:              # `python -m backend.cli api` on a free port
            ...

PostgreSQL runs as `modelyard up` runs it: durable (fsync on), with the same settings. Everything lies in a temporary
folder and is gone afterwards. No control worker runs: nothing but what is measured asks the database.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx2
import msgspec
import psutil
from pydantic import SecretStr
from sqlalchemy import make_url, text

from backend.core import wire
from backend.core.crypto import hash_token, new_token
from backend.core.db import Database, Scope, make_engine
from backend.core.ids import new_account_id, new_id
from backend.core.migrate import migrate
from backend.core.settings import DatabaseSettings, RolePasswords, SecuritySettings, Settings
from backend.fleet.models import Assignment, Instance, InstanceType
from backend.identity.keys import make_key
from backend.identity.models import Membership, Organization, User
from backend.identity.security import make_security
from backend.jobs.models import Attempt, Job
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.projects.models import Project
from tests.fixtures.platform import free_ports, wait_for

ROOT = Path(__file__).parents[1]
ROLES = ("owner", "app", "controller", "operator")
MASTER_KEY = "B" * 43 + "="
SHAPE = "bench.cpu"


@dataclass(frozen=True)
class BenchTenant:
    """An organization with a project, and its owner's API key."""

    organization_id: UUID
    project_id: UUID
    key: str

    @property
    def scope(self) -> Scope:
        """Whose rows."""
        return Scope(self.organization_id)

    @property
    def headers(self) -> dict[str, str]:
        """Of each request."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(frozen=True)
class BenchAttempt:
    """A running attempt: what an agent needs to report for it."""

    job_id: UUID
    assignment_id: UUID
    token: str


class ApiProcess:
    """A running API process."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU it has used, user and system."""
        used = self._process.cpu_times()
        return float(used.user + used.system)

    def memory_bytes(self) -> int:
        """Resident set now."""
        return int(self._process.memory_info().rss)

    @contextmanager
    def memory_growth(self) -> Iterator[list[int]]:
        """Bytes by which its peak resident set passed what it had before: appended on leaving."""
        found: list[int] = []
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        before = self.memory_bytes()
        yield found
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
        found.append(max(0, peak - before))


class Site:
    """A migrated database, a home, and settings for them."""

    def __init__(self, stack: "Stack", name: str) -> None:
        self.name = name
        self.home = stack.base / name
        self.home.mkdir(mode=0o700)
        self._broker_url = stack.valkey.broker_url()
        self._closing = stack.closing
        admin = make_url(stack.postgres.superuser_url("postgres")).set(drivername="postgresql+psycopg")

        def url(role: str) -> SecretStr:
            as_role = admin.set(username=f"modelyard_{role}", password=f"{role}-password", database=f"modelyard_{name}")
            return SecretStr(as_role.render_as_string(hide_password=False))

        self.settings = Settings(
            home=self.home,
            database=DatabaseSettings(
                admin_url=SecretStr(admin.render_as_string(hide_password=False)),
                **{f"{role}_url": url(role) for role in ROLES},
            ),
            roles=RolePasswords(**{role: SecretStr(f"{role}-password") for role in ROLES}),
            security=SecuritySettings(master_key=SecretStr(MASTER_KEY)),
        )
        migrate(self.settings)
        self.controller = self._open("controller")
        self.owner = self._open("owner")

    def _open(self, role: str) -> Database:
        url: SecretStr = getattr(self.settings.database, f"{role}_url")
        database = Database(make_engine(url.get_secret_value(), pool_size=2, name=f"bench-{role}"))
        self._closing.callback(database.dispose)
        return database

    # --- rows -------------------------------------------------------------------------------------

    def tenant(self, name: str) -> BenchTenant:
        """An organization with one project and an owner's key."""
        security = make_security(self.settings.security)
        organization_id, project_id, user_id = new_id(), new_id(), new_id()
        with self.controller.unit_of_work() as session:
            session.add(Organization(id=organization_id, account_id=new_account_id(), name=name, slug=name))
            session.add(User(id=user_id, email=f"owner@{name}.test", full_name=name, password_hash="none"))  # noqa: S106 - no password
            session.flush()
            session.add(Membership(organization_id=organization_id, user_id=user_id, role="owner"))
            session.add(Project(id=project_id, organization_id=organization_id, name="digits", description=""))
            session.merge(
                InstanceType(name=SHAPE, provider="bench", vcpus=1, memory_bytes=2**30, gpus=0, description="")
            )
            session.flush()
            made = make_key(
                session, security.vault, Scope(organization_id),
                name="owner", role="owner", scopes=(), created_by=user_id, expires_at=None, tags={},
            )  # fmt: skip
        return BenchTenant(organization_id, project_id, made.token)

    def running_attempt(self, tenant: BenchTenant, name: str) -> BenchAttempt:
        """A job that runs on an instance, as the controller would have left it."""
        owned: dict[str, Any] = {"organization_id": tenant.organization_id}
        job_id, attempt_id, instance_id, assignment_id, token = new_id(), new_id(), new_id(), new_id(), new_token("myi")
        with self.controller.unit_of_work() as session:
            session.add(
                Job(
                    id=job_id, project_id=tenant.project_id, kind="sleep", name=name, parameters={}, inputs={},
                    instance_type=SHAPE, market="on-demand", max_attempts=1, max_runtime_seconds=3600,
                    keep_alive_seconds=0, status="running", status_reason="", created_by="bench", attempt_count=1,
                    **owned,
                )
            )  # fmt: skip
            session.add(
                Instance(
                    id=instance_id, project_id=tenant.project_id, instance_type=SHAPE, market="on-demand",
                    provider="bench", tag=f"bench-{instance_id}", token_hash=hash_token(token), status="ready",
                    status_reason="", **owned,
                )
            )  # fmt: skip
            session.flush()
            session.add(
                Attempt(
                    id=attempt_id, job_id=job_id, number=1, instance_id=instance_id, assignment_id=assignment_id,
                    status="running", status_reason="", **owned,
                )
            )  # fmt: skip
            session.add(
                Assignment(
                    id=assignment_id, instance_id=instance_id, subject_kind="attempt", subject_id=attempt_id, epoch=1,
                    desired="run", spec=_spec(job_id, attempt_id), project_id=tenant.project_id, resource_kind="job",
                    resource_id=job_id, resource_name=name, **owned,
                )
            )  # fmt: skip
        return BenchAttempt(job_id, assignment_id, token)

    def fill(self, statement: str, **given: object) -> None:
        """Write rows with one statement, as the controller."""
        with self.controller.unit_of_work() as session:
            session.execute(text("SET LOCAL statement_timeout = 0"))
            session.execute(text(statement), given)

    def settle(self, *tables: str) -> None:
        """What autovacuum does sooner or later: statistics, and the visibility map."""
        with self.owner.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            for table in tables:
                connection.execute(text(f"VACUUM ANALYZE {table}"))

    # --- processes --------------------------------------------------------------------------------

    @contextmanager
    def api(self) -> Iterator[ApiProcess]:
        """A real API process over this database."""
        (port,) = free_ports(1)
        database = self.settings.database
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
        given = {
            "HOME": str(self.home),
            "DATABASE__APP_URL": _secret(database.app_url),
            "DATABASE__OPERATOR_URL": _secret(database.operator_url),
            "SECURITY__MASTER_KEY": MASTER_KEY,
            "BROKER__URL": self._broker_url,
            "API__PORT": str(port),
            "API__REQUESTS_PER_MINUTE": str(10**9),  # counted as always, and never too many
        }
        environment = kept | {f"MODELYARD_{name}": value for name, value in given.items()}
        log = self.home / f"api-{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "api"], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        try:
            api = ApiProcess(process, port)
            wait_for(f"the API ({log.read_text()[-500:]})", lambda: _answers(process, port), seconds=60)
            yield api
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _spec(job_id: UUID, attempt_id: UUID) -> dict[str, Any]:
    spec = wire.AttemptSpec(
        job_id=str(job_id),
        attempt_id=str(attempt_id),
        attempt_number=1,
        job_kind="sleep",
        entrypoint="worker.sleeping",
        parameters={},
        channels=[],
        checkpoint=None,
        max_runtime_seconds=3600.0,
        memory_limit_bytes=2**30,
        cpu_count=1.0,
        process_limit=64,
        disk_limit_bytes=2**30,
    )
    found: dict[str, Any] = msgspec.to_builtins(spec)
    return found


def _secret(value: SecretStr | None) -> str:
    assert value is not None
    return value.get_secret_value()


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the API ended with {process.returncode}")
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).status_code < 500
    except httpx2.TransportError:
        return False


class Stack:
    """Servers in a temporary folder."""

    def __init__(self) -> None:
        self.closing = ExitStack()
        self.base = Path(tempfile.mkdtemp(prefix="mybench-"))
        # The servers' own users must pass through; the folders inside are closed to all others.
        self.base.chmod(0o711)
        self.postgres = EmbeddedPostgres(self.base / "home", self.base / "run")
        self.valkey = EmbeddedValkey(self.base / "home", self.base / "run")

    def __enter__(self) -> Self:
        """Start the servers."""
        self.closing.callback(shutil.rmtree, self.base, ignore_errors=True)
        try:
            self.postgres.start()
            self.closing.callback(self.postgres.stop)
            self.valkey.start()
            self.closing.callback(self.valkey.stop)
        except BaseException:
            self.closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them and remove the folder."""
        self.closing.close()

    def site(self, name: str) -> Site:
        """A migrated database of its own."""
        return Site(self, name)


def foreign_load(seconds: float = 0.5) -> float:
    """Cores that others used during a moment of our own idling: above 0.3, times are worth little."""
    before = psutil.cpu_times()
    time.sleep(seconds)
    after = psutil.cpu_times()
    busy = sum(after) - sum(before) - (after.idle - before.idle) - (after.iowait - before.iowait)
    return float(busy / seconds)
