"""docker-compose.yml against the code it starts: the same services, the same credentials, nothing open to the world."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from backend.core.settings import Settings
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.secretsfile import home_secrets
from backend.platform.services import Platform, services
from docs.generators import settings as settings_page

ROOT = Path(__file__).parents[2]
CREDENTIALS = (
    "MODELYARD_DATABASE",
    "MODELYARD_ROLES",
    "MODELYARD_BROKER",
    "MODELYARD_SECURITY",
    "MODELYARD_GATEWAY__TOKEN",
)
OTHERS_SERVERS = ("postgres", "valkey")
GUARD = "run deploy/make-secrets first"
NOT_IN_COMPOSE = {
    "MODELYARD_SANDBOX__UNSAFE_NO_SANDBOX": "tenants' code runs sandboxed there, or not at all",
}
"""Settings that the compose file neither sets nor passes through, and why."""

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


@pytest.fixture(scope="module")
def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in compose["services"].items() if name not in OTHERS_SERVERS}


def test_compose_starts_the_services_of_up_with_the_same_credentials(compose: dict[str, Any], tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    platform = Platform(
        settings=Settings(home=tmp_path),
        runtime=runtime,
        secrets=home_secrets(tmp_path),
        postgres=EmbeddedPostgres(tmp_path, runtime),
        valkey=EmbeddedValkey(tmp_path, runtime),
    )
    listed = {spec.name: spec for spec in services(platform)}
    assert set(compose["services"]) == set(listed)
    for name, spec in listed.items():
        given = compose["services"][name].get("environment", {})
        ours = {key for key, value in given.items() if key.startswith(CREDENTIALS) and value is not None}
        assert ours == {key for key in spec.environment if key.startswith(CREDENTIALS)}, name


def test_every_variable_is_a_setting(ours: dict[str, dict[str, Any]]) -> None:
    for name, service in ours.items():
        for variable in service.get("environment", {}):
            known = variable == "MODELYARD_AGENT_RUNTIME" or _is_setting(variable)
            assert known, f"{name}: {variable} means nothing to anybody"


def _is_setting(variable: str) -> bool:
    group: type[BaseModel] = Settings
    *groups, last = variable.removeprefix("MODELYARD_").lower().split("__")
    for part in groups:
        field = group.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return False
        group = field.annotation
    return last in group.model_fields


def _variables(group: type[BaseModel], prefix: str = "MODELYARD_") -> Iterator[str]:
    """The variable of every setting."""
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _variables(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def test_every_setting_can_be_set_in_a_deployment_and_is_documented(ours: dict[str, dict[str, Any]]) -> None:
    everything = set(_variables(Settings))
    assert len(everything) > 50
    passed = {variable for service in ours.values() for variable in service.get("environment", {})}
    assert everything - passed == set(NOT_IN_COMPOSE)
    page = settings_page.pages()["reference/settings.md"]
    assert {variable for variable in everything if f"`{variable}`" not in page} == set()


def test_who_acts_outside_is_told_how(ours: dict[str, dict[str, Any]], compose: dict[str, Any]) -> None:
    """The API checks what the worker then fetches, posts and sends: both know the same choices."""
    choices = set(compose["x-choices"])
    for name in ("api", "worker"):
        assert choices <= set(ours[name]["environment"]), name
        assert "front" in ours[name]["networks"], name  # the other networks lead nowhere outside


def test_values_are_what_the_settings_take(ours: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ours.values():
        with monkeypatch.context() as patched:
            for variable, value in service.get("environment", {}).items():
                if value is not None:  # passed through
                    patched.setenv(variable, _interpolated(str(value)))
            Settings()


def _interpolated(value: str) -> str:
    with_defaults = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
    return re.sub(r"\$\{\w+:\?[^}]*\}", "s" * 44, with_defaults)


def test_only_the_api_and_the_gateways_are_published_and_only_here(compose: dict[str, Any]) -> None:
    published = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}
    assert set(published) == {"api", "gateway", "grpc"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not any(one.get("network_mode") or one.get("privileged") for one in compose["services"].values())


def test_nothing_starts_without_generated_secrets(compose: dict[str, Any]) -> None:
    raw = (ROOT / "docker-compose.yml").read_text()
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", raw):
        assert rest == f":?{GUARD}" or (name.endswith("_PORT") and rest.startswith(":-")), name
    for service in compose["services"].values():
        for variable, value in service.get("environment", {}).items():
            if value is not None and re.search(r"PASSWORD|AUTH$|TOKEN$|SECRET|KEY$|ROLES__", variable):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", str(value)), variable
            for password in re.findall(r"://\w+:([^@]*)@", str(value)):
                assert password.startswith("${"), variable
    # A missing hash file is an error, not an empty folder made in its place.
    (mount,) = [one for one in compose["services"]["valkey"]["volumes"] if one["type"] == "bind"]
    assert mount["bind"] == {"create_host_path": False}
    assert mount["read_only"]


def test_every_command_is_one_that_exists(ours: dict[str, dict[str, Any]]) -> None:
    for name, service in ours.items():
        module, *arguments = service["command"]
        assert importlib.util.find_spec(module), name
        told = subprocess.run(
            [sys.executable, "-m", module, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, f"{name}: {told.stderr}"


def test_nobody_has_more_rights_than_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        # What the sandbox of tenants' code needs of Docker, and nobody else gets.
        assert ("seccomp=unconfined" in service["security_opt"]) == (name == "localhost"), name


def test_who_reaches_whom(compose: dict[str, Any]) -> None:
    everyone = compose["services"]
    assert compose["networks"]["data"] == compose["networks"]["bus"] == {"internal": True}
    for name, service in everyone.items():
        speaks_sql = any("DATABASE" in variable for variable in service.get("environment", {}))
        assert ("data" in service["networks"]) == (speaks_sql or name == "postgres"), name
    # Sockets are handed from gateway to replicas, and machines asked for, through folders at one path in both.
    for pair in (
        ("gateway", "localhost", "sockets"),
        ("grpc", "localhost", "sockets"),
        ("worker", "localhost", "provider"),
    ):
        first, second, volume = pair
        (left,) = [one for one in everyone[first]["volumes"] if one.startswith(f"{volume}:")]
        assert left in everyone[second]["volumes"]
    assert (
        f"sockets:{everyone['localhost']['environment']['MODELYARD_AGENT_RUNTIME']}" in everyone["gateway"]["volumes"]
    )
    assert everyone["worker"]["environment"]["MODELYARD_LOCALHOST_SOCKET"] in everyone["localhost"]["command"]


def test_starts_in_an_order_that_works(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for other, wanted in service.get("depends_on", {}).items():
            found = compose["services"][other]
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in found, f"{name} waits for {other}"
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert found["restart"] == "no"


def test_docker_agrees(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    command = [docker, "compose", "--project-directory", str(tmp_path), "config", "--quiet"]
    without = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert without.returncode != 0
    assert GUARD in without.stderr
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "make-secrets", tmp_path / "deploy")
    subprocess.run([tmp_path / "deploy" / "make-secrets"], check=True, capture_output=True)
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
