"""A child that loads early begins when it is told, and not without its supervisor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.platform.gate import VARIABLE, Gate

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
CODE = (
    "from backend.platform.gate import VARIABLE, wait_for_start; import os\n"
    "print('loaded', flush=True); wait_for_start(); print('begun', VARIABLE in os.environ, flush=True)"
)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def child(gate: Gate) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=dict(os.environ) | {VARIABLE: str(gate.child_end)},
        pass_fds=(gate.child_end,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    gate.close_child_end()
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n"
    return process


def test_it_begins_when_told(gate: Gate, child: "subprocess.Popen[str]") -> None:
    assert child.poll() is None
    gate.open()
    output, _ = child.communicate(timeout=20)
    assert (output, child.returncode) == ("begun False\n", 0)
    gate.open()


def test_without_its_supervisor_it_ends(gate: Gate, child: "subprocess.Popen[str]") -> None:
    gate.discard()
    output, error = child.communicate(timeout=20)
    assert (output, error, child.returncode) == ("", "the supervisor is gone\n", 1)


def test_opening_the_gate_of_one_that_died_harms_nobody(gate: Gate, child: "subprocess.Popen[str]") -> None:
    child.kill()
    child.communicate(timeout=20)
    gate.open()


def test_without_a_gate_a_process_begins_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "loaded\nbegun False\n"
