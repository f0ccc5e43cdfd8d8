"""The command itself: where it finds the platform, what it says when something is wrong, how fast it starts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from backend.commands.output import cell, decimal, money, seconds, size
from backend.commands.parameters import nested, numbers
from backend.commands.root import globals_first
from backend.platform.home import RunState, lock_home, write_run_state
from tests.cli.conftest import Command
from tests.fixtures.database import Tenant
from tests.frontend.server import serving

ROOT = Path(__file__).parents[2]


@pytest.mark.unit
def test_start_up_imports_nothing_heavy() -> None:
    heavy = ("pydantic", "sqlalchemy", "httpx2", "msgspec", "rich.table", "PIL", "uvicorn", "celery", "torch")
    program = f"import sys, backend.cli; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.unit
def test_global_options_may_stand_anywhere() -> None:
    assert globals_first(["jobs", "list", "--output", "json"]) == ["--output", "json", "jobs", "list"]
    assert globals_first(["jobs", "-o", "json", "list", "--api-url=x"]) == ["-o", "json", "--api-url=x", "jobs", "list"]
    assert globals_first(["jobs", "show", "--", "-o"]) == ["jobs", "show", "--", "-o"]


@pytest.mark.unit
def test_figures_for_people() -> None:
    assert [size(count) for count in (0, 1023, 1024, 1_704_773)] == ["0 B", "1023 B", "1.0 KiB", "1.6 MiB"]
    assert [seconds(count) for count in (1.25, 61, 3_700, 90_000)] == ["1.2 s", "1 m 1 s", "1 h 1 m", "1 d 1 h"]
    assert [money(text) for text in ("0", "0.000027778", "12.5")] == ["$0.00", "$0.000027778", "$12.50"]
    assert [decimal(text) for text in ("1E-9", "100", "1.500")] == ["0.000000001", "100", "1.5"]
    assert [cell(value) for value in (None, True, 1.0, {"a": 1}, ["x", 2])] == ["", "yes", "1", "a 1", "x, 2"]


@pytest.mark.unit
def test_values_keep_their_types() -> None:
    assert numbers(["a=1", "b=0.5"], "") == {"a": 1, "b": 0.5}
    assert isinstance(numbers(["a=1"], "")["a"], int)
    assert nested(["epochs=3", "precision=bf16", "a.b=false"], "") == {
        "epochs": 3,
        "precision": "bf16",
        "a": {"b": False},
    }


@pytest.mark.unit
@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "list", "--limit", "0"],
        ["jobs", "list", "--output", "yaml"],
        ["jobs", "frobnicate"],
        ["endpoints", "weights", "e", "a:1"],
        ["projects", "create", "p", "--tag", "alone"],
        ["costs", "charges", "--job", "a", "--endpoint", "b"],
    ],
)
def test_a_wrong_command_line_exits_2(words: list[str]) -> None:
    told = Command({"MODELYARD_API_URL": "http://127.0.0.1:9", "MODELYARD_API_KEY": "x"})(*words)
    assert told.status == 2
    assert told.stderr


@pytest.mark.unit
def test_a_setting_that_cannot_be_is_named_by_its_variable(tmp_path: Path) -> None:
    told = Command({"MODELYARD_HOME": str(tmp_path / "home"), "MODELYARD_API__PORT": "eighty"})("up")
    assert told.status == 2
    assert "MODELYARD_API__PORT" in told.stderr
    assert "eighty" not in told.stderr, "a setting may be a secret"
    assert not (tmp_path / "home").exists()


@pytest.mark.unit
def test_without_a_platform_it_says_what_to_do(tmp_path: Path) -> None:
    told = Command({"MODELYARD_HOME": str(tmp_path)})("jobs", "list")
    assert told.status == 1
    assert "`modelyard up` starts one" in told.stderr
    status = Command({"MODELYARD_HOME": str(tmp_path)})("status")
    assert (status.status, "nothing runs on" in status.stderr) == (1, True)


@pytest.mark.unit
def test_status_reads_what_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    lock_home(home)
    state = RunState(
        pid=1, supervisor_pid=2, home=str(home), ready=True, ports={"api": 8700}, addresses={"api": "http://x:8700"}
    )
    write_run_state(state)
    assert Command({"MODELYARD_HOME": str(home)}).json("status")["addresses"] == {"api": "http://x:8700"}
    assert "http://x:8700" in Command()("status", "--home", str(home)).stdout


@pytest.mark.integration
def test_the_home_says_where_and_who(
    api_url: str, make_key: Callable[..., str], tenant: Tenant, tmp_path: Path
) -> None:
    owner = {"api_url": api_url, "api_key": make_key(tenant), "gateway_url": "http://127.0.0.1:9"}
    (tmp_path / "owner.json").write_text(json.dumps(owner))
    command = Command({"MODELYARD_HOME": str(tmp_path)})
    assert [one["name"] for one in command.json("projects", "list")] == ["digits"]
    # Of a platform that runs now the addresses count, not those of its first start.
    (tmp_path / "owner.json").write_text(json.dumps(owner | {"api_url": "http://127.0.0.1:9"}))
    (tmp_path / "run.json").write_text(json.dumps({"addresses": {"api": api_url}}))
    assert command.ok("projects", "list").stdout
    # The home's key is never sent to another platform.
    elsewhere = command("projects", "list", "--api-url", "http://127.0.0.1:9")
    assert elsewhere.status == 1
    assert "no key for http://127.0.0.1:9" in elsewhere.stderr


@pytest.mark.integration
def test_errors_of_the_platform_are_sentences(command: Command) -> None:
    command.ok("projects", "create", "twice")
    taken = command("projects", "create", "twice")
    assert taken.status == 1
    assert taken.stderr.startswith("error: ")
    assert "Traceback" not in taken.stderr
    problem = json.loads(command("projects", "create", "twice", "-o", "json").stderr)
    assert problem["code"] == "project_name_taken"
    unknown = command("projects", "show", "nobody")
    assert (unknown.status, unknown.stderr) == (1, "error: there is no project 'nobody'\n")
    foreign = command("projects", "show", "01a20757-f43f-7636-89dd-4cbcb42a8fff")
    assert foreign.status == 1
    command.environment["MODELYARD_API_KEY"] = "my_wrong"
    assert command("projects", "list").status == 1


@pytest.mark.integration
def test_a_name_that_several_have_needs_an_id(command: Command) -> None:
    command.ok("projects", "create", "other")
    ids = [command.json("datasets", "create", "twin", "-p", project)["id"] for project in ("digits", "other")]
    told = command("datasets", "show", "twin")
    assert told.status == 1
    assert all(each in told.stderr for each in ids)
    assert command.json("datasets", "show", ids[0])["id"] == ids[0]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("localhost:8700", "my_x", "write http://host:port"),
        ("http://[", "my_x", "is not an address"),
        ("http://127.0.0.1:9", "schlüssel", "characters that no key has"),
        ("http://127.0.0.1:9", "my_x\n", "characters that no key has"),
    ],
)
def test_an_address_or_key_that_cannot_be_one_is_told(url: str, key: str, said: str) -> None:
    told = Command()("projects", "list", "--api-url", url, "--api-key", key)
    assert told.status == 1
    assert said in told.stderr


@pytest.mark.unit
def test_somebody_elses_server_is_told() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("<html>welcome</html>")(scope, receive, send)

    with serving(answer) as url:
        told = Command()("projects", "list", "--api-url", url, "--api-key", "my_x")
    assert told.status == 1
    assert "does not answer as this client's API does" in told.stderr
