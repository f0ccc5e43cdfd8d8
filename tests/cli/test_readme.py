"""The README's commands exist, with the options it names; its links lead somewhere."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|console|python)\n(.*?)```", README, re.DOTALL)
LINES = [line.strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("modelyard ")])
def test_its_commands_are_understood(line: str) -> None:
    # --help ends the run after the whole line was parsed: an option that does not exist is refused before.
    told = Command()(*shlex.split(line)[1:], "--help")
    assert told.status == 0, told.stderr
    assert "Usage: modelyard" in told.stdout


def test_it_shows_the_tour() -> None:
    assert sum(line.startswith("modelyard ") for line in LINES) >= 10


def test_its_python_is_python() -> None:
    programs = [block for kind, block in BLOCKS if kind == "python"]
    assert programs
    for program in programs:
        ast.parse(program)


def test_its_links_and_targets_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(
        r"\bmake ([a-z]+)\b(?= |`|$)", "\n".join([*LINES, *re.findall(r"^\$ (.*)", README, re.MULTILINE)])
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
