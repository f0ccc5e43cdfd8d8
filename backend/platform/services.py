"""The services of `modelyard up`, as data: what runs, after what, and which credentials it alone gets.

Start: postgres and valkey together → migrate → api, control worker, beat → gateways → localhost; what is long to load
(migrate, api, control worker) loads from the first moment and waits at its gate. Stop is the
opposite order, so instances end while the control plane can still hear their last reports.
A process sees only what it needs: the API never gets the controller's password, a gateway no database, the
local provider nothing at all.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backend.core.settings import Settings
from backend.platform.children import ChildSpec
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.folders import write_private
from backend.platform.ports import Port
from backend.platform.readiness import accepts_tcp, accepts_unix
from backend.platform.secretsfile import HomeSecrets

_ROOT = Path(__file__).parents[2]
DATABASE = "modelyard"
_CREDENTIAL_GROUPS = ("DATABASE", "ROLES", "BROKER", "SECURITY", "GATEWAY__TOKEN", "SMTP__PASSWORD", "SMTP__USERNAME")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Everything the list of services is made from. `settings` has an absolute home."""

    settings: Settings
    runtime: Path
    secrets: HomeSecrets
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey

    @property
    def localhost_socket(self) -> Path:
        """Where the local provider listens."""
        return self.runtime / "localhost.sock"

    def database_url(self, role: str, password: str) -> str:
        """SQLAlchemy URL of the platform's database as `modelyard_<role>`."""
        host = quote(str(self.postgres.socket_folder), safe="")
        return f"postgresql+psycopg://modelyard_{role}:{quote(password)}@/{DATABASE}?host={host}&port=5432"


def ports(settings: Settings) -> list[Port]:
    """The TCP ports that `up` opens."""
    return [
        Port(
            name="API and dashboard",
            host=settings.api.host,
            number=settings.api.port,
            option="--api-port or MODELYARD_API__PORT",
        ),
        Port(
            name="gateway",
            host=settings.gateway.host,
            number=settings.gateway.port,
            option="--gateway-port or MODELYARD_GATEWAY__PORT",
        ),
        Port(
            name="gRPC gateway",
            host=settings.gateway.host,
            number=settings.gateway.grpc_port,
            option="--grpc-port or MODELYARD_GATEWAY__GRPC_PORT",
        ),
    ]


def services(platform: Platform) -> list[ChildSpec]:
    """All services, servers first."""
    return [*_servers(platform), *_control_plane(platform), *_data_plane(platform)]


def _servers(platform: Platform) -> list[ChildSpec]:
    postgres, valkey = platform.postgres, platform.valkey
    return [
        ChildSpec(
            name="postgres",
            command=postgres.command(),
            launched=True,
            prepare=postgres.prepare,
            ready=postgres.ready,
            stop_signal=postgres.stop_signal,
            stop_grace_seconds=30.0,
            hidden=["duplicate key value violates unique constraint"],  # a name that is taken: the caller gets a 409
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        ),
        ChildSpec(
            name="valkey",
            command=valkey.command(),
            launched=True,
            prepare=valkey.prepare,
            ready=valkey.ready,
            stop_signal=valkey.stop_signal,
            hidden=["Memory overcommit"],  # concerns snapshots, and there are none
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        ),
    ]


def _control_plane(platform: Platform) -> list[ChildSpec]:
    secrets, settings = platform.secrets, platform.settings
    migrating = {
        "DATABASE__ADMIN_URL": platform.postgres.superuser_url(),
        "DATABASE__OWNER_URL": platform.database_url("owner", secrets.owner_password),
        "ROLES__OWNER": secrets.owner_password,
        "ROLES__APP": secrets.app_password,
        "ROLES__CONTROLLER": secrets.controller_password,
        "ROLES__OPERATOR": secrets.operator_password,
        # The first boot's organization, owner, prices and gateway are seeded by the same one-shot.
        "DATABASE__CONTROLLER_URL": platform.database_url("controller", secrets.controller_password),
        "SECURITY__MASTER_KEY": secrets.master_key,
        "GATEWAY__TOKEN": secrets.gateway_token,
    }
    common = {
        "BROKER__URL": platform.valkey.broker_url(),
        "BROKER__AGENT_SECRET": secrets.agent_secret,
        "SECURITY__MASTER_KEY": secrets.master_key,
        "LOCALHOST_SOCKET": str(platform.localhost_socket),
    }
    serving = common | {
        "DATABASE__APP_URL": platform.database_url("app", secrets.app_password),
        "DATABASE__OPERATOR_URL": platform.database_url("operator", secrets.operator_password),
        "GATEWAY__TOKEN": secrets.gateway_token,
    }
    working = common | {
        "DATABASE__CONTROLLER_URL": platform.database_url("controller", secrets.controller_password),
        "DATABASE__APP_URL": platform.database_url("app", secrets.app_password),
    }
    beat = {"BROKER__URL": platform.valkey.broker_url()}
    schedule = str(settings.home / "beat-schedule")
    beat_arguments = ["celery", "--quiet", "-A", "worker.beat", "beat", "--schedule", schedule, "--pidfile="]
    return [
        _python(
            platform, "migrate", ["backend.cli", "migrate"], migrating, after=["postgres"], one_shot=True, early=True
        ),
        _python(
            platform,
            "api",
            ["backend.cli", "api"],
            serving,
            after=["migrate", "valkey"],
            early=True,
            ready=accepts_tcp(settings.api.host, settings.api.port),
        ),
        _python(
            platform,
            "worker",
            ["backend.cli", "worker"],
            working,
            after=["migrate", "valkey"],
            early=True,
            # The local provider starts last and stops first; the worker asks again by itself.
            hidden=["localhost.sock does not answer: [Errno 2]", "this host is shutting down"],
        ),
        _python(platform, "beat", beat_arguments, beat, after=["migrate", "valkey"]),
    ]


def _data_plane(platform: Platform) -> list[ChildSpec]:
    settings, socket = platform.settings, platform.localhost_socket
    token_file = settings.home / "gateway.token"

    def gateway(name: str, module: str, port: int, options: list[str]) -> ChildSpec:
        arguments = {"--home": settings.home, "--api": settings.api.url, "--token-file": token_file}
        return _python(
            platform,
            name,
            [module, *[str(word) for pair in arguments.items() for word in pair], *options],
            {},
            after=["api"],
            prepare=lambda: write_private(token_file, platform.secrets.gateway_token),
            ready=accepts_tcp(settings.gateway.host, port),
        )

    return [
        gateway("gateway", "worker.serving.gateway", settings.gateway.port, settings.gateway.arguments()),
        gateway("grpc", "worker.serving.grpcgateway", settings.gateway.grpc_port, settings.gateway.grpc_arguments()),
        _python(
            platform,
            "localhost",
            ["worker.localhost", "--home", str(settings.home), "--socket", str(socket)],
            {},
            after=["worker", "beat", "gateway", "grpc"],
            ready=accepts_unix(socket),
            # It ends its machines in an orderly way also when the supervisor is gone.
            death_signal=signal.SIGTERM,
            stop_grace_seconds=60.0,
        ),
    ]


def _python(
    platform: Platform,
    name: str,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    *,
    after: Sequence[str],
    one_shot: bool = False,
    early: bool = False,
    ready: Callable[[], bool] | None = None,
    prepare: Callable[[], None] | None = None,
    death_signal: int = signal.SIGKILL,
    stop_grace_seconds: float = 15.0,
    hidden: Sequence[str] = (),
) -> ChildSpec:
    return ChildSpec(
        name=name,
        command=[sys.executable, "-m", *arguments],
        environment=_environment(platform.settings, variables),
        after=after,
        one_shot=one_shot,
        early=early,
        ready=ready,
        prepare=prepare,
        death_signal=death_signal,
        stop_grace_seconds=stop_grace_seconds,
        hidden=hidden,
    )


def _environment(settings: Settings, variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without any credential of the platform, plus what one service is given."""
    hidden = tuple(f"MODELYARD_{group}" for group in _CREDENTIAL_GROUPS)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    search = [str(_ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    common = {
        "MODELYARD_HOME": str(settings.home),
        "MODELYARD_API__HOST": settings.api.host,
        "MODELYARD_API__PORT": str(settings.api.port),
        "MODELYARD_GATEWAY__HOST": settings.gateway.host,
        "MODELYARD_GATEWAY__PORT": str(settings.gateway.port),
        "MODELYARD_GATEWAY__GRPC_PORT": str(settings.gateway.grpc_port),
        "PYTHONPATH": os.pathsep.join(search),
        "PYTHONUNBUFFERED": "1",
    }
    return inherited | common | {f"MODELYARD_{name}": value for name, value in variables.items()}
