"""State machines: drawn in the documentation, whole, and used."""

import ast

import pytest

from docs.generators import states
from docs.generators.states import Machine
from tests.architecture.test_code import sources

pytestmark = pytest.mark.unit
MACHINES = list(states.machines())
BY_NAME = [pytest.param(machine, id=f"{machine.domain}.{machine.name}") for machine in MACHINES]
WRITERS = {
    "backend/core/lifecycle.py",  # `transition`: status and event together
    "backend/registry/service.py",  # a review: approval_status and its event together; the row has no `status`
    "backend/core/idempotency.py",  # an HTTP status
}
WITHOUT_END = {"Model version (approval status)": "a review can always be taken back"}


def reachable(machine: Machine, start: str) -> set[str]:
    seen, waiting = {start}, [start]
    while waiting:
        for each in machine.transitions[waiting.pop()] - seen:
            seen.add(each)
            waiting.append(each)
    return seen


def test_the_page_is_current() -> None:
    assert states.PAGE.read_text() == states.render(), "run `python -m docs.generators.states`"


def test_every_machine_is_drawn() -> None:
    assert len(MACHINES) >= 7
    assert len({machine.title for machine in MACHINES}) == len(MACHINES)


@pytest.mark.parametrize("machine", BY_NAME)
def test_every_status_is_reached_and_every_one_can_end(machine: Machine) -> None:
    every = set(machine.transitions)
    assert {each for following in machine.transitions.values() for each in following} <= every
    assert reachable(machine, machine.first) == every
    finals = {status for status, following in machine.transitions.items() if not following}
    if machine.title in WITHOUT_END:
        assert finals == set()
        return
    assert finals
    assert [status for status in every if not reachable(machine, status) & finals] == []
    assert all(status not in following for status, following in machine.transitions.items())


def words_of(domain: str) -> set[str]:
    """Statuses that a domain's code names, as `states.NAME`, as an imported name, or as text."""
    module = __import__(f"backend.{domain}.states", fromlist=["x"])
    known = {name: value for name, value in vars(module).items() if isinstance(value, str) and name.isupper()}
    found = set()
    for name, tree in sources("backend", "worker"):
        if not name.startswith((f"backend/{domain}/", "worker/tasks/")) or name.endswith(("states.py", "models.py")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in known:
                found.add(known[node.attr])
            if isinstance(node, ast.Name) and node.id in known:
                found.add(known[node.id])
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


@pytest.mark.parametrize("machine", BY_NAME)
def test_every_status_is_written_by_the_code_of_its_domain(machine: Machine) -> None:
    assert set(machine.transitions) - words_of(machine.domain) == set()


def test_a_status_is_written_in_one_place() -> None:
    found = {
        name
        for name, tree in sources("backend", "worker/tasks", "frontend")
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and target.attr in {"status", "approval_status"}
    }
    assert found == WRITERS
