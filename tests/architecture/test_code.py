"""What holds of the code itself: where SQL stands, how long things get, what is registered, which codes errors have."""

import ast
import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import backend
from backend.core.errors import DomainError
from backend.core.openapi import all_errors
from backend.tables import METADATA
from worker.app import app, controls

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
ROOMS = ("backend", "worker", "frontend", "modelyard")
SQL = {"select", "insert", "update", "delete", "text"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40

SQL_ALLOWED = {
    "backend/billing/pricing_repository.py": "a second repository of its domain: prices",
    "backend/billing/console.py": "a second repository of its domain: what operators read",
    "backend/endpoints/console.py": "a second repository of its domain: what operators read",
    "backend/fleet/console.py": "a second repository of its domain: what operators read",
    "backend/identity/console.py": "a second repository of its domain: what operators read",
    "backend/jobs/console.py": "a second repository of its domain: what operators read",
    "backend/core/clock.py": "asks Postgres for the time",
    "backend/core/db.py": "sets the role and the tenant of a transaction",
    "backend/core/idempotency.py": "a table of the HTTP layer, below every domain",
    "backend/core/migrate.py": "roles and the schema's version",
    "backend/core/ticks.py": "one row per control, written by workers, below every domain",
    "backend/core/schema.py": "asks which schema the database has",
    "backend/core/pagination.py": "pages of lists, for every domain's rows",
    "backend/core/queue.py": "leases, for every domain's rows",
    "backend/datasets/overview_repository.py": "a second repository of its domain: what pages ask",
    "backend/endpoints/routing_repository.py": "a second repository of its domain: the routing table",
    "backend/endpoints/traffic_repository.py": "a second repository of its domain: usage segments and traffic",
    "backend/fleet/agent_auth.py": "one call of a SECURITY DEFINER function, before there is a scope",
    "backend/fleet/sweep_repository.py": "a second repository of its domain: what a sweep asks of all tenants' rows",
    "backend/fleet/utilisation_repository.py": "a second repository of its domain: what assignments used",
    "backend/seed.py": "first rows, written before there is anybody to act as",
    "backend/uptime.py": "one row, written by API processes only",
}
LONG_FUNCTIONS = {
    "backend/billing/service.py: record_usage": "a list of columns",
    "backend/commands/starting.py: compress": "a list of options",
    "backend/fleet/metering.py: meter_assignment": "in a room that is being rebuilt",
    "backend/fleet/service.py: close_assignment": "in a room that is being rebuilt",
    "backend/jobs/service.py: submit_job": "a list of columns",
    "backend/platform/services.py: _control_plane": "a list of processes",
    "backend/registry/service.py: register_version": "a list of columns",
    "modelyard/pilot.py: _report": "a list of findings",
    "tests/billing/test_control.py: test_one_pass_rates_everything_there_is": "a story",
    "tests/chaos/test_audit.py: true_books": "a table",
    "tests/e2e/test_backup.py: test_a_restored_platform_is_the_same_platform": "a story",
    "tests/fleet/test_broker_users.py: test_an_agent_reaches_its_own_queue_and_nothing_else": "a story",
}
"""Longer than a function may be, and why; this list only shrinks."""


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def from_sqlalchemy(tree: ast.Module) -> set[str]:
    """Statement constructors that the module imports."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
        for alias in node.names
        if alias.name in SQL
    }


def builds_sql(tree: ast.Module) -> bool:
    """Whether a function or a constant of the module is a statement (a model's server default is none)."""
    names = from_sqlalchemy(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    constants = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for place in [*functions, *constants]
        for node in ast.walk(place)
    )


def test_sql_stands_in_repositories() -> None:
    found = {name for name, tree in sources(*ROOMS) if builds_sql(tree) and not name.endswith("/repository.py")}
    assert found == set(SQL_ALLOWED)


def test_files_stay_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for room in (*ROOMS, "tests", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
    }
    assert not {name for name, length in lengths.items() if length > MAX_FILE_LINES}


def test_functions_stay_short() -> None:
    long = {
        f"{name}: {node.name}"
        for name, node in functions(*ROOMS, "tests", "benchmarks", "docs/generators")
        if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == set(LONG_FUNCTIONS)


def test_every_control_file_is_imported_registered_and_a_task() -> None:
    tasks = {path.stem for path in (ROOT / "worker" / "tasks").glob("*.py")} - {"__init__", "control"}
    assert {control.__module__ for control in controls.by_name.values()} == {f"worker.tasks.{name}" for name in tasks}
    assert set(controls.by_name) <= set(app.tasks)


def test_beat_and_doorbells_name_tasks_that_exist() -> None:
    beaten = {entry["task"] for entry in app.conf.beat_schedule.values()}
    rung = {
        node.args[0].value
        for _, tree in sources("backend")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Doorbell"
        and isinstance(node.args[0], ast.Constant)
    }
    assert beaten <= set(controls.by_name)
    assert {"jobs.control", "fleet.control"} <= rung <= {*controls.by_name, "agent.sync"}


def test_every_error_has_a_code_of_its_own_a_title_and_a_way_out() -> None:
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        importlib.import_module(module.name)
    ours = [error for error in set(all_errors()) if error.__module__.startswith("backend.")]
    codes = Counter(error.code for error in ours)
    assert [code for code, count in codes.items() if count > 1] == []
    assert all(code.replace("_", "").isalnum() and code == code.lower() for code in codes)
    assert [error for error in ours if not {"code", "title", "remedy"} <= set(vars(error))] == []
    assert all(400 <= error.status < 600 for error in ours)


def test_errors_without_a_code_are_roots_and_never_raised() -> None:
    kinds, waiting = set(), [DomainError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "code" not in vars(kind) and kind.__module__.startswith(("backend.", "frontend.", "worker.")):
            kinds.add(kind)
    assert {kind.__module__ for kind in kinds} == {"backend.core.errors"}
    names = {kind.__name__ for kind in kinds}
    raised = [
        f"{name}: {node.func.id}"
        for name, tree in sources("backend", "frontend")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]
    assert raised == []


def functions(*rooms: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree in sources(*rooms):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_every_setting_says_what_it_is() -> None:
    tree = ast.parse((ROOT / "backend/core/settings.py").read_text())
    silent = []
    for group in [node for node in tree.body if isinstance(node, ast.ClassDef)]:
        after = [*group.body[1:], None]
        for field, following in zip(group.body, after, strict=True):
            if not isinstance(field, ast.AnnAssign) or getattr(field.target, "id", "") == "model_config":
                continue
            said = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if not said:
                silent.append(f"{group.name}.{getattr(field.target, 'id', '')}")
    assert silent == []


def test_lints_that_guard_times_and_output_are_on_and_not_silenced() -> None:
    """`print` is T201, naive times are DTZ: both rules run everywhere, and nothing silences them."""
    found = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"noqa: [^#]*\b(T20\d|DTZ\d+)", path.read_text())
    }
    assert found == set()


def test_every_resource_of_the_api_carries_tags() -> None:
    tagged = {name for name, table in METADATA.tables.items() if "tags" in table.columns}
    resources = {
        "api_keys", "budgets", "dataset_versions", "datasets", "endpoints", "instances", "jobs", "model_versions",
        "models", "organizations", "projects",
    }  # fmt: skip
    assert tagged == resources
