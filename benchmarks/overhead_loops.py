"""The loops that `training_overhead` compares; each runs a round, stops itself (SIGSTOP), and goes on when told.

`python -m benchmarks.overhead_loops bare|threads FILE N` is the loop as one writes it by hand: `bare` on N threads,
`threads` on torch's default. As the entrypoint `overhead_loops` of a job it is the platform's trainer with its metrics,
progress and checkpoints. Each round is one line of FILE: steps, wall seconds, CPU seconds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch.nn import functional

from backend.core.wire import JobSpec
from worker.jobprocess import JobProcess, run_job
from worker.training.augmentation import build_augmentation
from worker.training.config import Hyperparameters
from worker.training.images import SPLITS, ImageDataset, Split
from worker.training.models import Architecture
from worker.training.precision import Compute
from worker.training.trainer import Trainer

COUNT, CLASSES, SIDE = 3000, 10, 28
STEPS = 40
LOOPS = 2
"""So many take turns: the trainer's checkpoints come by the clock, of which it has this part."""
SETTINGS = Hyperparameters(epochs=10_000, checkpoint_every_seconds=15.0 * LOOPS)
Step = Callable[[torch.Tensor], None]


class Round(msgspec.Struct):
    """One line."""

    steps: int
    wall_seconds: float
    cpu_seconds: float


def noise() -> ImageDataset:
    """Images to compute on; what they show does not matter."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (COUNT, 1, SIDE, SIDE), dtype=np.uint8)
    split = Split(images, generator.integers(0, CLASSES, COUNT))
    return ImageDataset(classes=[str(number) for number in range(CLASSES)], splits=dict.fromkeys(SPLITS, split))


def take_turns(step: Step, file: Path) -> None:
    """Rounds for ever; the first is not written down."""
    batches = _batches()
    with file.open("wb", buffering=0) as lines:
        for number in range(sys.maxsize):
            os.kill(os.getpid(), signal.SIGSTOP)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(STEPS):
                step(next(batches))
            done = Round(STEPS, time.perf_counter() - wall, time.process_time() - cpu)
            if number:
                lines.write(msgspec.json.encode(done) + b"\n")


def _batches() -> Iterator[torch.Tensor]:
    size = SETTINGS.batch_size
    while True:
        order = torch.randperm(COUNT)
        for start in range(0, COUNT - size, size):
            yield order[start : start + size]


def bare_step(dataset: ImageDataset) -> Step:
    """One step, with nobody to tell."""
    compute = Compute.choose(SETTINGS.precision)
    model = Architecture.of(SETTINGS, dataset.image_shape, len(dataset.classes)).build().to(compute.device)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # missing in torch's stubs
    augmentation = build_augmentation(SETTINGS.augmentation, dataset.image_shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS.learning_rate, fused=True)
    images = torch.from_numpy(dataset.splits["train"].images).to(compute.device)
    labels = torch.from_numpy(dataset.splits["train"].labels).to(compute.device)

    def step(indices: torch.Tensor) -> None:
        with torch.no_grad():
            batch = augmentation(images[indices].float().mul_(1 / 255))
        with compute.autocast():
            loss = functional.cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), labels[indices])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def platform_loop(process: JobProcess) -> None:
    """The platform's trainer, as its job process runs it."""
    trainer = Trainer(process, SETTINGS, noise())
    trainer.model.train()
    process.log(f"{torch.get_num_threads()} threads")
    take_turns(trainer.advance, process.work_folder / "rounds.jsonl")


def trainer_threads(cpu_count: float) -> int:
    """How many threads the platform's trainer takes for this work."""
    spec = JobSpec(
        job_id="", attempt_number=1, job_kind="training", parameters={}, channels={}, resume_step=None,
        cpu_count=cpu_count,
    )  # fmt: skip
    Trainer(JobProcess(spec, Path(), None), SETTINGS, noise())
    return torch.get_num_threads()


def main() -> None:
    """The bare loops."""
    kind, file = sys.argv[1], Path(sys.argv[2])
    if kind == "bare":
        torch.set_num_threads(int(sys.argv[3]))
    take_turns(bare_step(noise()), file)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main()
    else:
        sys.exit(run_job(platform_loop))
