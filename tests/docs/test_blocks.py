"""The pages' code blocks, run in order against a real platform, as a reader would type them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, script_of
from tests.fixtures.platform import ON_PLATFORM, RHYTHM, RunningPlatform, new_running_platform

pytestmark = [*ON_PLATFORM, pytest.mark.slow]

TOUR = ["tutorial/index", "tutorial/command", "tutorial/python", "tutorial/curl"]
"""In this order: later pages use what the earlier ones made."""
HOW_TO = [
    f"how-to/{name}"
    for name in (
        "images", "failed-job", "interruption", "precision", "compress", "ab-test", "keys", "costs", "budget",
        "webhooks",
    )
]  # fmt: skip


@contextmanager
def beside_a_platform(folder: Path) -> Iterator[dict[str, str]]:
    """Environment of a shell in `folder` with `.venv` activated, beside a platform of its own that runs."""
    platform: RunningPlatform = new_running_platform(RHYTHM)
    programs = folder / "bin"
    programs.mkdir()
    _program(programs / "python", f'exec {sys.executable} "$@"')
    _program(programs / "modelyard", f'exec {sys.executable} -m backend.cli "$@"')
    try:
        platform.up()
        (folder / ".modelyard").symlink_to(platform.home)
        yield platform.environment() | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MODELYARD_HOME": str(platform.home),
            "PWD": str(folder),
        }
    finally:
        platform.discard()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The reader of the documentation, from page to page."""
    with beside_a_platform(tmp_path_factory.mktemp("reader")) as shell:
        yield shell


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("page", [*TOUR, *HOW_TO])
def test_the_blocks_do_what_the_page_says(reader: dict[str, str], page: str) -> None:
    follow(reader, page)


def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    with beside_a_platform(tmp_path) as shell:
        follow(shell, "README")


def follow(shell: dict[str, str], page: str) -> None:
    """Type all of a page; every command must succeed."""
    ended = subprocess.run(
        ["/bin/bash", "-c", script_of(page)],
        cwd=shell["PWD"], env=shell, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n---\n{ended.stderr[-3000:]}"


def test_every_page_with_blocks_is_run() -> None:
    found = {
        str(path.relative_to(ROOT / "docs").with_suffix(""))
        for folder in ("tutorial", "how-to")
        for path in (ROOT / "docs" / folder).glob("*.md")
    }
    # What nginx is told is tested with a real nginx, in tests/serving/test_nginx.py.
    assert found - {"how-to/index", "how-to/proxy"} == {*TOUR, *HOW_TO}
