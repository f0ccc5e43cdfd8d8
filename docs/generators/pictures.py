"""Diagrams from code, as Mermaid: the order and credentials of processes; which room may import which."""

import tomllib
from pathlib import Path

from backend.core.settings import Settings
from backend.platform.children import ChildSpec
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.secretsfile import HomeSecrets
from backend.platform.services import Platform, services
from docs.generators.schemas import table

ROOT = Path(__file__).parents[2]
CREDENTIALS = {
    "DATABASE__ADMIN_URL": "database: superuser",
    "DATABASE__OWNER_URL": "database: owner",
    "DATABASE__APP_URL": "database: app",
    "DATABASE__CONTROLLER_URL": "database: controller",
    "BROKER__URL": "broker",
    "BROKER__AGENT_SECRET": "agents' broker secret",
    "SECURITY__MASTER_KEY": "master key",
    "GATEWAY__TOKEN": "gateway's token",
}
"""Variable (without its prefix) → the credential in words."""


def pages() -> dict[str, str]:
    """`architecture/processes.md` and `architecture/rooms.md`."""
    return {"architecture/processes.md": _processes(), "architecture/rooms.md": _rooms()}


def _listed() -> list[ChildSpec]:
    """The services of `modelyard up` on a home that does not exist; nothing is started or written."""
    home, runtime = Path("/home-of-modelyard"), Path("/run-of-modelyard")
    platform = Platform(
        settings=Settings(home=home),
        runtime=runtime,
        secrets=HomeSecrets(),
        postgres=_Described(home, runtime),
        valkey=_DescribedBroker(home, runtime),
    )
    return services(platform)


class _Described(EmbeddedPostgres):
    """Its password is made when it starts, and it does not start here."""

    password = "made at the first start"  # noqa: S105 # a property elsewhere; not a secret


class _DescribedBroker(EmbeddedValkey):
    """Likewise."""

    password = "made at the first start"  # noqa: S105 # as above


def _processes() -> str:
    listed = _listed()
    arrows = [f"    {before} --> {each.name}" for each in listed for before in each.after]
    rows = [(f"`{each.name}`", _words(each), ", ".join(_credentials(each)) or "none") for each in listed]
    return (
        f"{_PROCESSES}```mermaid\nflowchart LR\n{chr(10).join(arrows)}\n```\n\n"
        "Stopping is the other way round, so instances end while the control plane can still hear their last reports."
        f"\n\n## What each may know\n\n{table(('process', 'what it runs', 'credentials it gets'), rows)}{_AFTER}"
    )


def _words(spec: ChildSpec) -> str:
    if "-m" in spec.command:
        words = list(spec.command)[list(spec.command).index("-m") + 1 :]
        shown = {"backend.cli": words[:2], "celery": [words[0], "beat"]}.get(words[0], words[:1])
        return f"`python -m {' '.join(shown)}`"
    return f"`{Path(spec.command[-1].split('=')[0]).name if not spec.launched else spec.name}`, from its wheel"


def _credentials(spec: ChildSpec) -> list[str]:
    return [words for name, words in CREDENTIALS.items() if f"MODELYARD_{name}" in spec.environment]


_PROCESSES = """# Processes

`modelyard up` is a warden, the process you started, and a supervisor below it, which starts the services, watches
them and starts again what dies. An arrow means "must be ready before".

"""

_AFTER = """The gateway reads its token from a file in its home, and an agent gets the token of its instance and
nothing else. The job itself gets no credential at all: it speaks to its agent over one Unix socket.

A service that ends is started again after 0.5 s, then 1 s, doubling to 30 s; a steady minute makes the wait short
again. The warden has no state: killed, it takes the supervisor with it in an orderly way, and a killed supervisor's
children get their signals from the kernel. [What to do when something dies](../operations/when-it-breaks.md) has the
cases.
"""


def _rooms() -> str:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each for each in contracts if each["type"] == "layers")["layers"]
    parts = [f'    r{number}["{layer.replace(" | ", " · ")}"]' for number, layer in enumerate(layers)]
    arrows = [f"    r{number} --> r{number + 1}" for number in range(len(layers) - 1)]
    rows = [(each["name"], ", ".join(f"`{name}`" for name in each["forbidden_modules"])) for each in contracts if
            each["type"] == "forbidden"]  # fmt: skip
    picture = "\n".join([*parts, *arrows])
    return f"{_ROOMS}```mermaid\nflowchart TB\n{picture}\n```\n\n## What may never be imported\n\n" + table(
        ("rule", "so these are out of reach"), rows
    )


_ROOMS = """# Rooms

The backend is cut by domain: a folder per subject, each with the same files (`states`, `models`, `schemas`, `errors`,
`repository` with all SQL, `service` with the use cases, `api`). Learn one and you know all. A room may import from
rooms
below it, and there only `service`, `schemas` and `errors`; a build that breaks this fails.

"""
