"""Trainings that are interrupted, and the uninterrupted ones they must equal.

    run(configuration, folder, channel, interruptions)
        one training, attempt by attempt: each interruption ends an attempt, the next one resumes from the newest
        checkpoint that was told, or starts anew where none was; the last attempt runs to the end

An interruption is a *stop* (a real SIGTERM: the trainer writes a checkpoint) or a *kill* (nothing more is written,
what was not told is lost). It strikes before the first step, after a step, or while an epoch is being evaluated.
"""

import contextlib
import io
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from backend.core.wire import CheckpointWritten, Metrics
from tests.training.folders import Told, write_spec
from worker.jobprocess import JobProcess, JobStopped
from worker.training.checkpoint import random_state
from worker.training.config import read_parameters
from worker.training.data import read_dataset
from worker.training.precision import Compute
from worker.training.trainer import Trainer

STEPS_PER_EPOCH = 6
EPOCHS = 4


class Killed(BaseException):
    """The process is gone: nothing below may clean up or tell."""


@dataclass(frozen=True)
class Interruption:
    """`step`: after this many steps in all (0: before the first). `evaluation`: instead, in this epoch's, from 1.

    A kill finds the last checkpoint begun written and told; a kill-in-write finds it lost.
    """

    how: Literal["stop", "kill", "kill-in-write"]
    step: int = -1
    evaluation: int = -1


@dataclass(frozen=True)
class Configuration:
    """Hyperparameters, the number format (fp16 too: torch scales gradients on a CPU as on a GPU), and threads."""

    name: str
    settings: dict[str, Any]
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the job."""
        common = {"epochs": EPOCHS, "batch_size": 32, "width": 4, "hidden": 16, "log_every_steps": 4}
        return {"algorithm": "image-classification", "hyperparameters": common | self.settings}


@dataclass
class Ended:
    """What a training came to. points: every metric point but the throughput, which is a measured time."""

    trainer: Trainer
    state: dict[str, Any]
    random: dict[str, Any]
    points: dict[tuple[str, int], float]
    attempts: int


@dataclass
class _Part:
    """One attempt."""

    trainer: Trainer
    points: dict[tuple[str, int], float] = field(default_factory=dict)
    checkpoint: Path | None = None
    finished: bool = False


class InterruptedTrainer(Trainer):
    """Is struck where its interruption says."""

    interruption: Interruption | None = None

    def train(self) -> None:
        if self.interruption is not None:
            self.model.register_forward_pre_hook(self._before_forward)
            self._strike_if(self.interruption.step == 0)
        super().train()

    def step(self, indices: Tensor) -> None:
        super().step(indices)
        if self.interruption is not None:
            self._strike_if(self.position.step == self.interruption.step)

    def _before_forward(self, model: nn.Module, _inputs: object) -> None:
        if self.interruption is not None and not model.training:
            self._strike_if(self.position.epoch + 1 == self.interruption.evaluation)

    def _strike_if(self, now: bool) -> None:  # noqa: FBT001 - reads as a sentence
        if not now or self.interruption is None:
            return
        if self.interruption.how != "stop":
            raise Killed
        signal.raise_signal(signal.SIGTERM)


def open_trainer(
    folder: Path, channel: Path, configuration: Configuration, checkpoint: Path | None = None
) -> InterruptedTrainer:
    """An attempt in a job folder of its own, on a copy of the checkpoint."""
    step = None
    if checkpoint is not None:
        shutil.copytree(checkpoint, folder / "checkpoint")
        step = int(checkpoint.name)
    write_spec(folder, "training", configuration.parameters, step)
    trainer = InterruptedTrainer(
        JobProcess.open(folder),
        read_parameters(configuration.parameters).hyperparameters,
        read_dataset(channel),
        Compute(torch.device("cpu"), configuration.precision),
    )
    if configuration.precision == "fp16":
        # A scale so high that gradients overflow at once, and that grows again every third step.
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=3)
    torch.set_num_threads(configuration.threads)
    return trainer


def run(configuration: Configuration, folder: Path, channel: Path, interruptions: list[Interruption]) -> Ended:
    """The whole training, however often it is interrupted."""
    points: dict[tuple[str, int], float] = {}
    checkpoint: Path | None = None
    waiting: list[Interruption | None] = [*interruptions, None]
    for number, interruption in enumerate(waiting, 1):
        part = _attempt(configuration, folder / str(number), channel, checkpoint, interruption)
        for where, value in part.points.items():
            assert points.get(where, value) == value, f"{where} was told twice, with another value"
        points |= part.points
        checkpoint = part.checkpoint or checkpoint
        if part.finished:
            return Ended(part.trainer, part.trainer.state(), random_state(), points, number)
    raise AssertionError("the last attempt is not interrupted, and must finish")


def _attempt(
    configuration: Configuration, folder: Path, channel: Path, checkpoint: Path | None, struck: Interruption | None
) -> _Part:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        trainer = open_trainer(folder, channel, configuration, checkpoint)
        trainer.interruption = struck
        part = _Part(trainer)
        lost = 0
        try:
            trainer.train()
            part.finished = True
        except JobStopped:
            pass
        except Killed:
            lost = int(struck is not None and struck.how == "kill-in-write" and trainer.checkpoints.busy)
            # Nothing dies here, so the writer's thread is waited for, and forgotten where it died in the write.
            trainer.checkpoints.finish()
    told = Told.parse(output.getvalue())
    part.points = _points(told)
    written = told.of(CheckpointWritten)
    written = written[: len(written) - lost]
    if written:
        part.checkpoint = folder / "work" / written[-1].folder
    return part


def _points(told: Told) -> dict[tuple[str, int], float]:
    return {
        (series.name, step): value
        for message in told.of(Metrics)
        for series in message.series
        if series.name != "throughput"
        for step, value in zip(series.steps, series.values, strict=True)
    }


class References:
    """The uninterrupted training of each configuration, trained once."""

    def __init__(self, folder: Path, channel: Path) -> None:
        self._folder = folder
        self._channel = channel
        self._known: dict[str, Ended] = {}

    def of(self, configuration: Configuration) -> Ended:
        """As it ends when nothing happens."""
        if configuration.name not in self._known:
            folder = self._folder / configuration.name
            self._known[configuration.name] = run(configuration, folder, self._channel, [])
        return self._known[configuration.name]


def assert_same_end(ended: Ended, reference: Ended) -> None:
    """Weights, optimizer, scaler, position, best weights, sums, random states and metrics, to the last bit."""
    assert_equal(ended.state, reference.state, "state")
    assert_equal(ended.random, reference.random, "random")
    assert ended.points == reference.points


def assert_equal(left: Any, right: Any, where: str) -> None:
    """Equal to the last bit, whatever the nesting; only the seconds of training may differ."""
    assert type(left) is type(right), where
    if isinstance(left, Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for name in left:
            if name != "seconds":
                assert_equal(left[name], right[name], f"{where}.{name}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_equal(one, other, f"{where}[{number}]")
    else:
        assert left == right, where
