"""Memory of the whole idle platform without an instance, and the size of what is installed.

Run `python -m benchmarks.footprint`; the last line is a JSON list. It starts a platform of its own on free ports, opens
some pages and lists once (what is loaded on first use is loaded then), lets it rest, and sums the proportional set size
(PSS: a page that n processes share counts 1/n in each) of everything it runs. The size of the install is that of
all files of the packages that `pip install .[embedded,compute,demo]` asks for, directly or not.
"""

import json
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import httpx2
import psutil
from packaging.requirements import Requirement

from backend.platform.home import read_run_state
from tests.fixtures.platform import ROOT, RunningPlatform, new_running_platform

GOAL_MIB, STRETCH_MIB = 600, 500
REST_SECONDS = 10
EXTRAS = ("embedded", "compute", "demo")
LISTED = 20
ROUTES = (
    "/api/v1/projects", "/api/v1/datasets", "/api/v1/models", "/api/v1/jobs", "/api/v1/endpoints",
    "/api/v1/instances", "/api/v1/charges", "/api/v1/budgets",
)  # fmt: skip


def memory(platform: RunningPlatform) -> dict[str, tuple[int, float]]:
    """(processes, MiB of PSS) by service; the warden and the supervisor are services too."""
    state = read_run_state(platform.home)
    assert state is not None
    services = {child.pid: name for name, child in state.children.items() if child.pid is not None}
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for process in platform.processes():
        name = _service(process, services)
        count, size = found[name]
        found[name] = (count + 1, size + process.memory_full_info().pss / 2**20)
    return dict(found)


def _service(process: psutil.Process, services: dict[int, str]) -> str:
    for one in (process, *process.parents()):
        if one.pid in services:
            return services[one.pid]
    return "warden and supervisor"


def use(platform: RunningPlatform) -> None:
    """Ask for every list once."""
    headers = {"Authorization": f"Bearer {platform.owner['api_key']}"}
    with httpx2.Client(base_url=platform.api_url, headers=headers, trust_env=False) as client:
        for route in ROUTES:
            client.get(route).raise_for_status()


def installed() -> dict[str, int]:
    """Bytes of every package that a user's install asks for, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]
    found: dict[str, int] = {}
    _add(found, wanted, frozenset())
    return found


def _add(found: dict[str, int], requirements: Iterable[str], extras: frozenset[str]) -> None:
    for line in requirements:
        requirement = Requirement(line)
        environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker is not None and not any(requirement.marker.evaluate(each) for each in environments):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name in found and not requirement.extras:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = _size(package)
        _add(found, package.requires or (), frozenset(requirement.extras))


def _size(package: Distribution) -> int:
    paths = [Path(str(package.locate_file(each))) for each in package.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


def print_tables(services: dict[str, tuple[int, float]], packages: dict[str, int]) -> None:
    """For people."""
    print(f"{'service':24}{'processes':>10}{'MiB (PSS)':>12}")
    for name, (count, size) in sorted(services.items(), key=lambda item: -item[1][1]):
        print(f"{name:24}{count:10}{size:12.1f}")
    print(f"\n{'package':24}{'MiB':>10}")
    for name, size in sorted(packages.items(), key=lambda item: -item[1])[:LISTED]:
        print(f"{name:24}{size / 2**20:10.1f}")
    print(f"{'all ' + str(len(packages)):24}{sum(packages.values()) / 2**20:10.1f}\n")


def lines(services: dict[str, tuple[int, float]], packages: dict[str, int]) -> list[dict[str, Any]]:
    """The results."""
    total = sum(size for _, size in services.values())
    return [
        {
            "name": "footprint",
            "value": round(total, 1),
            "unit": "MiB (PSS), idle, no instance",
            "against": f"a limit of {GOAL_MIB} MiB",
            "ratio": round(GOAL_MIB / total, 3),
            "goal": GOAL_MIB,
            "stretch": STRETCH_MIB,
            "met": total <= GOAL_MIB,
            "services": {name: round(size, 1) for name, (_, size) in services.items()},
            "install_mib": round(sum(packages.values()) / 2**20, 1),
        }
    ]


def main() -> int:
    """Print the tables and the JSON line; 1 where the goal is missed."""
    platform = new_running_platform()
    try:
        platform.up()
        use(platform)
        time.sleep(REST_SECONDS)
        services = memory(platform)
    finally:
        platform.discard()
    packages = installed()
    print_tables(services, packages)
    found = lines(services, packages)
    print(json.dumps(found))
    return 0 if all(line["met"] for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
