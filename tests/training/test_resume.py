"""A resumed training equals an uninterrupted one, bit for bit."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.core.wire import CheckpointWritten, Metrics
from tests.training.folders import Told, write_spec
from worker.jobprocess import JobError, JobProcess, JobStopped
from worker.training.checkpoint import random_state, read_checkpoint
from worker.training.config import read_parameters
from worker.training.data import read_dataset
from worker.training.trainer import Trainer

pytestmark = pytest.mark.unit

STEPS_PER_EPOCH = 6
SETTINGS = {"epochs": 3, "batch_size": 32, "width": 4, "hidden": 16, "log_every_steps": 4}


class StoppedTrainer(Trainer):
    """Is sent a real SIGTERM after one of its steps."""

    stop_after = -1

    def step(self, indices: Tensor) -> None:
        super().step(indices)
        if self.position.step == self.stop_after:
            signal.raise_signal(signal.SIGTERM)


def trainer(folder: Path, channel: Path, settings: dict[str, Any], checkpoint: Path | None = None) -> StoppedTrainer:
    parameters = {"algorithm": "image-classification", "hyperparameters": settings}
    step = None
    if checkpoint is not None:
        shutil.copytree(checkpoint, folder / "checkpoint")
        step = int(checkpoint.name)
    write_spec(folder, "training", parameters, step)
    process = JobProcess.open(folder)
    return StoppedTrainer(process, read_parameters(parameters).hyperparameters, read_dataset(channel))


def assert_equal_state(left: Any, right: Any, where: str = "state") -> None:
    """Equal to the last bit, whatever the nesting."""
    assert type(left) is type(right), where
    if isinstance(left, Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for name in left:
            if name != "seconds":
                assert_equal_state(left[name], right[name], f"{where}.{name}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_equal_state(one, other, f"{where}[{number}]")
    else:
        assert left == right, where


def points(told: Told) -> dict[tuple[str, int], float]:
    """Every metric point but the throughput, which is a measured time."""
    return {
        (series.name, step): value
        for message in told.of(Metrics)
        for series in message.series
        if series.name != "throughput"
        for step, value in zip(series.steps, series.values, strict=True)
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stop_after", [1, 5, 6, 9, 17])
def test_a_resumed_training_equals_an_uninterrupted_one(
    stop_after: int, precision: str, digits_channel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS | {"precision": precision}
    whole = trainer(tmp_path / "whole", digits_channel, settings)
    assert whole.steps_per_epoch == STEPS_PER_EPOCH
    whole.train()
    expected, expected_random = whole.state(), random_state()
    told_whole = Told.parse(capsys.readouterr().out)

    first = trainer(tmp_path / "first", digits_channel, settings)
    first.stop_after = stop_after
    with pytest.raises(JobStopped):
        first.train()
    told_first = Told.parse(capsys.readouterr().out)
    (written,) = told_first.of(CheckpointWritten)
    assert written.step == stop_after

    second = trainer(tmp_path / "second", digits_channel, settings, tmp_path / "first" / "work" / written.folder)
    second.train()
    assert second.position.step == 3 * STEPS_PER_EPOCH
    assert_equal_state(second.state(), expected)
    assert_equal_state(random_state(), expected_random)
    assert points(told_first) | points(Told.parse(capsys.readouterr().out)) == points(told_whole)


def test_a_training_interrupted_twice_equals_one(digits_channel: Path, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", digits_channel, SETTINGS)
    whole.train()
    checkpoint = None
    for number, stop_after in enumerate((3, 14)):
        part = trainer(tmp_path / str(number), digits_channel, SETTINGS, checkpoint)
        part.stop_after = stop_after
        with pytest.raises(JobStopped):
            part.train()
        checkpoint = tmp_path / str(number) / "work" / "checkpoints" / str(stop_after)
    last = trainer(tmp_path / "last", digits_channel, SETTINGS, checkpoint)
    last.train()
    assert_equal_state(last.state(), whole.state())


def test_a_checkpoint_of_the_end_only_needs_export(digits_channel: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"checkpoint_every_epochs": 1, "checkpoint_every_seconds": None}
    whole = trainer(tmp_path / "whole", digits_channel, settings)
    whole.train()
    checkpoints = sorted(path.name for path in (tmp_path / "whole/work/checkpoints").iterdir())
    assert checkpoints == ["12", "18", "6"]
    again = trainer(tmp_path / "again", digits_channel, settings, tmp_path / "whole/work/checkpoints/18")
    again.train()
    assert_equal_state(again.state(), whole.state())


def test_a_damaged_checkpoint_is_refused(digits_channel: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"epochs": 1, "checkpoint_every_epochs": 1}
    trainer(tmp_path / "whole", digits_channel, settings).train()
    folder = tmp_path / "whole/work/checkpoints/6"
    content = bytearray((folder / "state.pt").read_bytes())
    content[1000] ^= 1
    (folder / "state.pt").write_bytes(content)
    with pytest.raises(JobError, match="damaged"):
        read_checkpoint(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(JobError, match="cannot be read"):
        read_checkpoint(folder)
