"""A small seeded choice of the kill matrix; `make chaos` runs the covering one."""

from pathlib import Path

import pytest

from tests.chaos.matrix import runner
from tests.chaos.matrix.cases import FAULTS, KILL, STOP, sample
from tests.fixtures.disks import can_mount

SEED = 1
HOMES = 2
MINUTES = 7.0


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
def test_a_sample_of_the_kill_matrix(tmp_path: Path) -> None:
    faults = FAULTS if can_mount() else (KILL, STOP)
    done = runner.Run(sample(SEED, faults), tmp_path, MINUTES)
    runner.run(done, homes=HOMES)
    assert runner.summary(done, SEED)["met"], (runner.summary(done, SEED), [each.problem for each in done.outcomes])
