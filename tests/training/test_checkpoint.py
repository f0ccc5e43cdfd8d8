"""Checkpoints written beside a training that goes on."""

import errno
from pathlib import Path

import pytest
import torch

from tests.fixtures.disks import Disks, can_mount
from worker.training.checkpoint import CheckpointWriter, read_checkpoint

pytestmark = pytest.mark.unit


def unexpected(error: OSError) -> None:
    raise AssertionError from error


def test_what_is_written_is_the_state_of_that_step(tmp_path: Path) -> None:
    told: list[tuple[int, Path]] = []
    writer = CheckpointWriter(tmp_path, lambda step, folder: told.append((step, folder)), unexpected)
    weights = torch.ones(1000)
    state = {"weights": weights, "nested": {"list": [weights[:3], 7]}, "random": (1, (2, 3), None)}
    writer.write(5, state)
    weights.zero_()
    state["random"] = ()
    writer.finish()
    ((step, folder),) = told
    found = read_checkpoint(folder, 5).state
    assert step == 5
    assert torch.equal(found["weights"], torch.ones(1000))
    assert torch.equal(found["nested"]["list"][0], torch.ones(3))
    assert (found["nested"]["list"][1], found["random"]) == (7, (1, (2, 3), None))


def test_one_at_a_time_and_an_error_is_raised_where_the_training_waits(tmp_path: Path) -> None:
    told: list[int] = []

    def tell(step: int, _folder: Path) -> None:
        told.append(step)
        if step == 2:
            raise ConnectionError("the agent is gone")

    writer = CheckpointWriter(tmp_path, tell, unexpected)
    writer.write(1, {})
    writer.write(2, {})
    with pytest.raises(ConnectionError, match="agent is gone"):
        writer.write(3, {})
    writer.write(4, {})
    writer.finish()
    assert told == [1, 2, 4]


@pytest.mark.skipif(not can_mount(), reason="mounting takes root")
@pytest.mark.parametrize("elements", [10, 2_000_000])
def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path: Path, elements: int) -> None:
    disks = Disks(tmp_path)
    disks.mount()
    try:
        work = disks.folder("gateway")
        told: list[int] = []
        left_out: list[int | None] = []
        writer = CheckpointWriter(work, lambda step, _: told.append(step), lambda error: left_out.append(error.errno))
        state = {"weights": torch.zeros(elements)}
        writer.write(1, state)
        writer.finish()
        with disks.full("gateway"):
            writer.write(2, state)
            writer.finish()
        assert (told, left_out) == ([1], [errno.ENOSPC])
        assert [path.name for path in (work / "checkpoints").iterdir()] == ["1"]
        assert read_checkpoint(work / "checkpoints" / "1", 1).state["weights"].shape == (elements,)
        writer.write(3, state)
        writer.finish()
        assert told == [1, 3]
    finally:
        disks.unmount()
