"""`modelyard up`: lock the home, look at the ports, run the services under the supervisor and its warden."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backend.core.settings import Settings
from backend.platform.children import ChildSpec
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.errors import PlatformError
from backend.platform.folders import make_runtime_folder, runtime_folder
from backend.platform.home import RunState, lock_home
from backend.platform.ports import Port, check_ports
from backend.platform.secretsfile import home_secrets
from backend.platform.services import Platform, services
from backend.platform.services import ports as service_ports
from backend.platform.supervisor import OnReady, Supervisor
from backend.platform.warden import guarded


def say(line: str) -> None:
    """One line for the person at the terminal."""
    sys.stderr.write(f"modelyard: {line}\n")
    sys.stderr.flush()


def up(settings: Settings, *, ports: Mapping[str, int] | None = None, on_ready: OnReady | None = None) -> int:
    """Run the platform of `settings.home` in the foreground until it is stopped. Returns the exit status.

    `ports` overrides the settings: keys `api`, `gateway`, `grpc`. `on_ready` runs once in a thread of the forked
    supervisor when everything is ready; an int it returns ends everything with that status. Call from the main
    thread. Errors (home taken, busy port, a service that does not start) are told on stderr, status 1.
    """
    chosen = _with_ports(settings, ports or {})
    addresses = {
        "api": chosen.api.url,
        "gateway": f"http://{chosen.gateway.host}:{chosen.gateway.port}",
        "grpc": chosen.gateway.shown_grpc_address,
    }

    def listed() -> list[ChildSpec]:
        say(f"starting on {chosen.home}, logs in its folder `logs`; this takes a few seconds")
        return services(_platform(chosen))

    return run_home(
        chosen.home,
        specs=listed,
        ports=dict(zip(("api", "gateway", "grpc"), service_ports(chosen), strict=True)),
        addresses=addresses,
        on_ready=on_ready,
    )


def run_home(
    home: Path,
    *,
    specs: Callable[[], Sequence[ChildSpec]],
    ports: Mapping[str, Port],
    addresses: Mapping[str, str],
    on_ready: OnReady | None = None,
) -> int:
    """Lock `home`, check `ports`, and supervise what `specs()` (called in the supervisor) lists.

    The mechanism of `up` for any list of services. Returns the exit status.
    """
    try:
        lock = lock_home(home)
    except PlatformError as error:
        say(str(error))
        return 1
    try:
        check_ports(list(ports.values()))
        warden = os.getpid()

        def body() -> int:
            state = RunState(
                pid=warden,
                supervisor_pid=os.getpid(),
                home=str(home),
                ready=False,
                ports={name: port.number for name, port in ports.items()},
                addresses=dict(addresses),
            )
            return _supervise(specs, state, on_ready)

        return guarded(body, say=say)
    except PlatformError as error:
        say(str(error))
        return 1
    finally:
        (home / "run.json").unlink(missing_ok=True)
        os.close(lock)


def _supervise(specs: Callable[[], Sequence[ChildSpec]], state: RunState, on_ready: OnReady | None) -> int:
    try:
        return Supervisor(specs(), state, say=say, on_ready=on_ready).run()
    except PlatformError as error:
        say(str(error))
        return 1
    finally:
        # Also here, for a warden that was killed cannot.
        (Path(state.home) / "run.json").unlink(missing_ok=True)


def _with_ports(settings: Settings, ports: Mapping[str, int]) -> Settings:
    chosen = settings.model_copy(deep=True)
    chosen.home = settings.home.resolve()
    chosen.api.port = ports.get("api", chosen.api.port)
    chosen.gateway.port = ports.get("gateway", chosen.gateway.port)
    chosen.gateway.grpc_port = ports.get("grpc", chosen.gateway.grpc_port)
    return chosen


def _platform(settings: Settings) -> Platform:
    runtime = make_runtime_folder(runtime_folder(settings.home))
    return Platform(
        settings=settings,
        runtime=runtime,
        secrets=home_secrets(settings.home),
        postgres=EmbeddedPostgres(settings.home, runtime),
        valkey=EmbeddedValkey(settings.home, runtime),
    )
