"""Training steps/s of the trainer, with all it tells and saves, against the same loop in bare PyTorch.

Run `python -m benchmarks.training_overhead`; the last line is one JSON object. Both loops train the default
model on 28x28 images with augmentation, bf16 autocast where the CPU has it, on one thread. They take turns in
short rounds and the median of the rounds' ratios counts. The trainer talks to a real Unix socket that is read
as an agent would read it. Checkpoints fall outside most rounds, so the time of one, as often as the default
writes one, is added as a share. Exit 1 where the goal is missed.
"""

import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional

from backend.core.wire import JobSpec
from tests.gpu.gratings import gratings
from worker.jobprocess import JobProcess
from worker.training.augmentation import build_augmentation
from worker.training.checkpoint import write_checkpoint
from worker.training.config import Hyperparameters
from worker.training.images import ImageDataset
from worker.training.models import Architecture
from worker.training.precision import Compute
from worker.training.trainer import Trainer

ROUNDS = 15
STEPS = 20
GOAL = 0.98
CHECKPOINT_SECONDS = 15.0
SETTINGS = Hyperparameters(epochs=10_000, checkpoint_every_seconds=None)
Step = Callable[[torch.Tensor], None]


def drain(line: socket.socket) -> None:
    """Read what the trainer tells until it hangs up."""
    while line.recv(65536):
        pass


def platform_trainer(dataset: ImageDataset, folder: Path, line: socket.socket) -> Trainer:
    """The trainer as the job process runs it; its `advance` is one step."""
    spec = JobSpec(
        job_id="benchmark",
        attempt_number=1,
        job_kind="training",
        parameters={},
        channels={},
        resume_step=None,
        cpu_count=1,
    )
    trainer = Trainer(JobProcess(spec, folder, line), SETTINGS, dataset)
    trainer.model.train()
    return trainer


def bare_step(dataset: ImageDataset) -> Step:
    """The same step as one writes it by hand, with nobody to tell."""
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


def seconds(step: Step, count: int) -> float:
    """Time of one round of `STEPS` steps on `count` images."""
    order = torch.randperm(count)
    started = time.perf_counter()
    for number in range(STEPS):
        start = number * SETTINGS.batch_size % (count - SETTINGS.batch_size)
        step(order[start : start + SETTINGS.batch_size])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> int:
    """Print the JSON line."""
    dataset = gratings(3000, 10)
    near, far = socket.socketpair()
    reader = threading.Thread(target=drain, args=(far,), daemon=True)
    reader.start()
    with tempfile.TemporaryDirectory() as folder:
        trainer = platform_trainer(dataset, Path(folder), near)
        steps = {"platform": trainer.advance, "bare": bare_step(dataset)}
        rounds = [{name: seconds(step, 3000) for name, step in steps.items()} for _ in range(ROUNDS + 1)][1:]
        started = time.perf_counter()
        write_checkpoint(Path(folder), 1, trainer.state())
        checkpoint_seconds = time.perf_counter() - started
    near.close()
    reader.join(5)
    share = CHECKPOINT_SECONDS / (CHECKPOINT_SECONDS + checkpoint_seconds)
    ratio = median(one["bare"] / one["platform"] for one in rounds) * share
    value = STEPS / median(one["platform"] for one in rounds)
    result = {
        "name": "training_overhead",
        "value": round(value, 1),
        "unit": "steps/s",
        "against": "the same loop in bare PyTorch, same process, unsandboxed",
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "stretch": 1.0,
        "checkpoint_seconds": round(checkpoint_seconds, 3),
        "met": ratio >= GOAL,
    }
    print(json.dumps(result))
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
