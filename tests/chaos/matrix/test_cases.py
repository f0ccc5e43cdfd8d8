"""The covering choice covers, and a run's lines can be gone on from."""

import itertools
from pathlib import Path

import pytest

from tests.chaos.matrix import runner
from tests.chaos.matrix.cases import (
    FAULTS,
    KILL,
    PHASES,
    PROCESSES,
    STOP,
    Case,
    all_cases,
    cells,
    covering,
    find,
    sample,
)
from tests.chaos.matrix.home import Outcome

pytestmark = pytest.mark.unit
SEEDS = (1, 2, 77)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("faults", [FAULTS, (KILL, STOP)], ids=["all faults", "without root"])
def test_every_process_meets_every_phase_and_every_fault(seed: int, faults: tuple[str, ...]) -> None:
    chosen = covering(seed, faults)
    assert len(chosen) == len(set(chosen))
    assert {case.cell for case in chosen} == set(cells())
    assert {(case.process, case.fault) for case in chosen} == set(itertools.product(PROCESSES, faults))
    assert chosen == covering(seed, faults)


def test_seeds_choose_differently() -> None:
    assert set(covering(1)) != set(covering(2))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sample_has_each_process_once_and_each_fault(seed: int) -> None:
    chosen = sample(seed)
    assert sorted(case.process for case in chosen) == sorted(PROCESSES)
    assert {case.fault for case in chosen} == set(FAULTS)
    assert sum(case.fault == STOP for case in chosen) == 1


def test_every_phase_of_every_subject_is_struck() -> None:
    assert {cell[:2] for cell in cells()} == {(subject, phase) for subject in PHASES for phase in PHASES[subject]}
    assert len(all_cases()) == len(cells()) * len(FAULTS)


def test_a_case_is_found_by_its_name() -> None:
    assert all(find(case.name) == case for case in all_cases())
    with pytest.raises(KeyError):
        find("training-queued-nobody-kill")


def test_a_run_keeps_its_lines_and_tells_what_is_red(tmp_path: Path) -> None:
    cases = [Case("training", "queued", "api", KILL), Case("endpoint", "serving", "beat", KILL)]
    done = runner.Run([*cases, Case("training", "running", "api", STOP)], tmp_path, minutes=1.0)
    done.waiting.popleft()
    done.waiting.popleft()
    done.add(Outcome(cases[0], 1.0, "queued", ""))
    done.add(Outcome(cases[1], 1.0, "in_service", "callers noticed"))
    assert runner.earlier(tmp_path) == {"training-queued-api-kill": True, "endpoint-serving-beat-kill": False}
    said = runner.summary(done, seed=1)
    assert (said["met"], said["value"], said["red"], said["not_run"]) == (False, 2, ["endpoint-serving-beat-kill"], 1)
    assert "+1 RED" in runner.table(done.outcomes)
