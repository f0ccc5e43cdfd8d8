"""Steps/s of the trainer's own loop on a GPU: fp32, TF32, bf16 and fp16, interleaved, medians.

Run `python -m benchmarks.gpu_amp`; the last line is one JSON object. The model is wide enough (64x64 images,
128 channels at first) that products, not launches, take the time. Exit 1 where there is no GPU or AMP is not
faster.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from backend.core.wire import JobSpec
from tests.gpu.gratings import gratings
from worker.jobprocess import JobProcess
from worker.training.config import Hyperparameters
from worker.training.trainer import Trainer

MODES = ("fp32", "tf32", "bf16", "fp16")
BATCH = 512
ROUNDS = 5
GOAL = 1.5


def build(folder: Path, mode: str) -> Trainer:
    """A trainer whose products run in `mode`, with augmentation as in a usual training."""
    settings = Hyperparameters(
        batch_size=BATCH,
        width=128,
        hidden=512,
        precision="fp32" if mode == "tf32" else mode,  # type: ignore[arg-type]  # one of MODES
    )
    spec = JobSpec(
        job_id="benchmark",
        attempt_number=1,
        job_kind="training",
        parameters={},
        channels={},
        resume_step=None,
        cpu_count=2,
    )
    return Trainer(JobProcess(spec, folder, None), settings, gratings(2048, 64, side=64, channels=3))


def run_steps(trainer: Trainer, mode: str, steps: int) -> float:
    """Seconds that `steps` steps take, queue emptied before and after."""
    format_name = "ieee" if mode == "fp32" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = format_name
    torch.backends.cudnn.conv.fp32_precision = format_name  # type: ignore[attr-defined]  # made at run time
    trainer.model.train()
    order = trainer.training.order(0, 0)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for number in range(steps):
        start = number * BATCH % trainer.training.count
        trainer.step(order[start : start + BATCH])
    torch.cuda.synchronize()
    return time.perf_counter() - started


def steps_per_second(folder: Path, steps: int = 100) -> dict[str, float]:
    """Median steps/s per mode; the modes take turns."""
    trainers = {mode: build(folder, mode) for mode in MODES}
    for mode, trainer in trainers.items():
        run_steps(trainer, mode, 10)
    taken: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(ROUNDS):
        for mode, trainer in trainers.items():
            taken[mode].append(run_steps(trainer, mode, steps))
    return {mode: steps / median(seconds) for mode, seconds in taken.items()}


def main() -> int:
    """Print the table and the JSON line."""
    if not torch.cuda.is_available():
        print("There is no CUDA device: nothing to measure.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        speeds = steps_per_second(Path(folder))
    for mode, speed in speeds.items():
        print(f"{mode}: {speed:8.1f} steps/s, {speed / speeds['fp32']:.2f} x fp32")
    ratio = speeds["bf16"] / speeds["fp32"]
    result = {
        "name": "gpu_amp",
        "value": round(speeds["bf16"], 1),
        "unit": "steps/s",
        "against": "the same loop in fp32",
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "stretch": 3.0,
        "met": ratio >= GOAL,
        "steps_per_second": {mode: round(speed, 1) for mode, speed in speeds.items()},
        "device": torch.cuda.get_device_name(),
    }
    print(json.dumps(result))
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
