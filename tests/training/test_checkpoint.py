"""Checkpoints written beside a training that goes on."""

from pathlib import Path

import pytest
import torch

from worker.training.checkpoint import CheckpointWriter, read_checkpoint

pytestmark = pytest.mark.unit


def test_what_is_written_is_the_state_of_that_step(tmp_path: Path) -> None:
    told: list[tuple[int, Path]] = []
    writer = CheckpointWriter(tmp_path, lambda step, folder: told.append((step, folder)))
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

    writer = CheckpointWriter(tmp_path, tell)
    writer.write(1, {})
    writer.write(2, {})
    with pytest.raises(ConnectionError, match="agent is gone"):
        writer.write(3, {})
    writer.write(4, {})
    writer.finish()
    assert told == [1, 2, 4]
