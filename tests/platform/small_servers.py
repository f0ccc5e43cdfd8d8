"""Embedded servers under the real supervisor: `python -m tests.platform.small_servers HOME RUNTIME`."""

import sys
from pathlib import Path

from backend.core.settings import Settings
from backend.platform.children import ChildSpec
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.secretsfile import home_secrets
from backend.platform.services import Platform, services
from backend.platform.up import run_home, say


def specs(home: Path, runtime: Path) -> list[ChildSpec]:
    """The services that need none of the platform's programs."""
    platform = Platform(
        settings=Settings(home=home),
        runtime=runtime,
        secrets=home_secrets(home),
        postgres=EmbeddedPostgres(home, runtime, durable=False),
        valkey=EmbeddedValkey(home, runtime),
    )
    kept = ("postgres", "valkey")
    return [spec for spec in services(platform) if spec.name in kept]


if __name__ == "__main__":
    home, runtime = (Path(argument) for argument in sys.argv[1:])
    sys.exit(
        run_home(
            home,
            specs=lambda: specs(home, runtime),
            ports={},
            addresses={},
            on_ready=lambda state: say(f"ready {state.pid}"),
        )
    )
