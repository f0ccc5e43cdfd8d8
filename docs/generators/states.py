"""docs/reference/states.md: every state machine as a diagram, from the dictionaries that the engine obeys."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "reference" / "states.md"
ROOT = Path(__file__).parents[2]
HEAD = """# States

<!-- Made by `python -m docs.generators.states`; do not edit. -->

Every status that a resource can have, and every change that is legal. These dictionaries are what the engine checks
before it writes a status; each change is an event (`from_status`, `to_status`, `reason`, `actor`, `at`).
"""
TITLES: dict[object, str] = {
    "JOB": "Job",
    "ATTEMPT": "Attempt",
    "ENDPOINT": "Endpoint",
    "REPLICA": "Replica",
    "UPLOAD_TRANSITIONS": "Upload",
    "IMPORT_TRANSITIONS": "Dataset import",
    "APPROVAL_TRANSITIONS": "Model version (approval status)",
    ("fleet", "TRANSITIONS"): "Instance",
}


@dataclass(frozen=True)
class Machine:
    """One state machine: its first status is where a resource begins."""

    domain: str
    name: str
    transitions: dict[str, frozenset[str]]

    @property
    def first(self) -> str:
        """The status of a new resource."""
        return next(iter(self.transitions))

    @property
    def title(self) -> str:
        """What people call it."""
        return TITLES.get(self.name) or TITLES[self.domain, self.name]


def machines() -> Iterator[Machine]:
    """Every dictionary of transitions in a `states.py`."""
    for path in sorted((ROOT / "backend").glob("*/states.py")):
        domain = path.parent.name
        for name, value in vars(importlib.import_module(f"backend.{domain}.states")).items():
            if name.isupper() and isinstance(value, dict):
                yield Machine(domain, name, value)


def diagram(machine: Machine) -> str:
    """The machine as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {machine.first}"]
    for status, following in machine.transitions.items():
        lines += [f"    {status} --> {each}" for each in machine.transitions if each in following]
        if not following:
            lines.append(f"    {status} --> [*]")
    return "\n".join([*lines, "```"])


def render() -> str:
    """The page."""
    parts = [HEAD]
    for machine in machines():
        parts += [f"## {machine.title}\n", f"`backend/{machine.domain}/states.py`\n", diagram(machine) + "\n"]
    return "\n".join(parts)


def write() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render())


if __name__ == "__main__":
    write()
