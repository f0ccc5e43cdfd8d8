"""What the pages say exists: commands, links, error codes, modules; and the generators say what the code does."""

import ast
import pkgutil
import re
import shlex

import pytest

import modelyard
from backend.core.settings import Settings
from docs.generators import api, cli, metrics, pictures, settings
from docs.generators.application import application, errors_of, permission_of, routes
from docs.generators.schemas import Schemas
from tests.cli.conftest import Command
from tests.docs.blocks import PAGES, ROOT, blocks_of
from tests.fixtures.api import MASTER_KEY

pytestmark = pytest.mark.unit

ALL = sorted(
    str(path.relative_to(PAGES).with_suffix("")) for path in PAGES.rglob("*.md") if "node_modules" not in path.parts
)


def _commands() -> list[str]:
    """Every `modelyard …` that a page shows, without what the shell makes of it."""
    lines = []
    for page in ALL:
        for block in blocks_of(page):
            code = block.code.replace("\\\n", " ")
            for line in code.splitlines():
                words = re.sub(r"^\$ (?:\w+=\S+ )?", "", line.strip()) if block.language == "console" else line.strip()
                found = re.match(r"(?:until )?(modelyard [^|;#&>]*)", words)
                if block.language in {"sh", "console"} and found and not words.startswith("modelyard:"):
                    lines.append(found[1].strip())
    return sorted(set(lines))


@pytest.mark.parametrize("line", _commands())
def test_commands_are_understood(line: str) -> None:
    # --help ends the run after the whole line was parsed: an option that does not exist is refused before.
    words = [word for word in shlex.split(line)[1:] if word != "…"]
    told = Command()(*words, "--help")
    assert told.status == 0, told.stderr
    assert "Usage: modelyard" in told.stdout


def test_python_is_python() -> None:
    programs = [block.code for page in ALL for block in blocks_of(page) if block.language == "python"]
    assert len(programs) >= 5
    for program in programs:
        ast.parse(program)


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = {
        name
        for page in ALL
        for name in re.findall(r"(?:`|^\$ |&& )make ([a-z-]+)", (PAGES / f"{page}.md").read_text(), re.MULTILINE)
    }
    assert {"up", "bench"} <= shown
    for name in shown:
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_variables_that_pages_name_are_read_somewhere() -> None:
    sources = (
        "\n".join(
            path.read_text()
            for folder in ("backend", "worker", "modelyard", "deploy")
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix in {".py", ""}
        )
        + (ROOT / "docker-compose.yml").read_text()
    )
    known = set(re.findall(r"MODELYARD_[A-Z0-9_]+", settings.pages()["reference/settings.md"]))
    for page in ALL:
        # `MODELYARD_DATABASE__…_URL` stands for several.
        for name in re.findall(r"MODELYARD_[A-Z0-9_]+\b(?!…)", (PAGES / f"{page}.md").read_text()):
            assert name in known or name in sources, (page, name)


def test_every_route_is_on_a_page_with_its_permission_and_a_command() -> None:
    made = api.pages()
    text = "\n".join(made.values())
    for method, path in routes():
        assert f"`{method} {path.replace(':path}', '}')}`" in text
    assert permission_of(routes()["POST", "/api/v1/training-jobs"]) == "write"
    assert permission_of(routes()["GET", "/api/v1/me"]) == "any credential"
    assert permission_of(routes()["GET", "/health/live"]) == "none"
    assert text.count("```sh") == len(routes())


@pytest.mark.parametrize(
    ("route", "codes"),
    [
        (("GET", "/api/v1/projects/{project_id}"), {"project_not_found"}),
        (("POST", "/api/v1/jobs/{job_id}/stop"), {"job_not_found", "job_already_finished"}),
        (("POST", "/api/v1/uploads/{upload_id}/complete"), {"upload_not_found", "upload_incomplete"}),
        (("PATCH", "/api/v1/endpoints/{endpoint_id}/weights"), {"endpoint_not_found", "variant_unknown"}),
    ],
)
def test_errors_of_a_route_are_those_it_declares(route: tuple[str, str], codes: set[str]) -> None:
    assert codes <= {code for _, code, _ in errors_of(routes()[route])}


def test_every_command_is_on_a_page() -> None:
    text = "\n".join(cli.pages().values())
    for line in ("modelyard backup", "modelyard jobs logs", "modelyard endpoints weights", "modelyard train"):
        assert f"# {line} {{" in text
    assert "`--keep-alive-seconds`" in text


def test_every_setting_is_listed_and_no_secret_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECURITY__MASTER_KEY", MASTER_KEY)
    text = settings.pages()["reference/settings.md"]
    assert MASTER_KEY not in text
    for name, field in Settings.model_fields.items():
        if not hasattr(field.annotation, "model_fields"):
            assert f"`MODELYARD_{name.upper()}`" in text
    assert "`MODELYARD_CONTROL__LEASE_SECONDS` | number | `30.0`" in text


def test_metrics_are_those_that_are_served() -> None:
    served = application().state.metrics.response().body.decode()
    names = set(re.findall(r"^\| `(\w+)`", metrics.pages()["reference/metrics.md"], re.MULTILINE))
    described = set(re.findall(r"^# HELP (\w+) ", served, re.MULTILINE))
    assert {name for name in described if name.startswith("modelyard_") and not name.endswith("_created")} <= names


def test_the_picture_of_processes_has_no_secret_and_who_gets_none() -> None:
    text = pictures.pages()["architecture/processes.md"]
    assert "| `localhost` | `python -m worker.localhost` | none |" in text
    assert "| `gateway` | `python -m worker.serving.gateway` | none |" in text
    assert "database: controller" not in next(line for line in text.splitlines() if line.startswith("| `api`"))


def test_every_public_module_of_the_client_is_in_its_reference() -> None:
    page = (PAGES / "reference" / "client.md").read_text()
    inner = {"demo", "pilot", "room", "transport", "costs"}
    for module in pkgutil.iter_modules(modelyard.__path__):
        if module.name not in inner:
            assert f"::: modelyard.{module.name}" in page, module.name


def test_examples_of_bodies_are_valid() -> None:
    document = application().openapi()
    checked = 0
    for (method, path), route in routes().items():
        if route.body_field is None:
            continue
        operation = document["paths"][path.replace(":path}", "}")][method.lower()]
        content = operation["requestBody"]["content"]
        if "application/json" in content:
            value = Schemas(document).example(content["application/json"]["schema"])
            _, errors = route.body_field.validate(value, {}, loc=("body",))
            assert not errors, (method, path, value, errors)
            checked += 1
    assert checked >= 15
