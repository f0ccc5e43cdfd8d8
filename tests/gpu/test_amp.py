"""Mixed precision, gradient scaling and resume on a real CUDA device.

Imports, beside this repository: pytest, pytest-timeout, numpy, torch, msgspec, and kornia for augmentation.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from backend.core.wire import JobSpec
from tests.gpu.gratings import gratings
from worker.jobprocess import JobProcess, JobStopped
from worker.training.config import read_parameters
from worker.training.evaluation import evaluate
from worker.training.models import SmallCnn
from worker.training.precision import Compute
from worker.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 64, "width": 16, "hidden": 64}


@pytest.fixture(autouse=True)
def _signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def build(folder: Path, settings: dict[str, Any], resume_step: int | None = None) -> Trainer:
    parameters = {"algorithm": "image-classification", "hyperparameters": settings}
    (folder / "work").mkdir(parents=True, exist_ok=True)
    spec = JobSpec(
        job_id="job-1",
        attempt_number=1,
        job_kind="training",
        parameters=parameters,
        channels={},
        resume_step=resume_step,
        cpu_count=2,
    )
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    return Trainer(JobProcess.open(folder), read_parameters(parameters).hyperparameters, gratings(1024, 256))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_every_precision_learns_and_computes_in_its_own_format(
    precision: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    trainer = build(tmp_path, SETTINGS | {"precision": precision})
    seen: list[torch.dtype] = []
    assert isinstance(trainer.model, SmallCnn)
    handle = trainer.model.blocks[0].register_forward_hook(lambda _module, _inputs, maps: seen.append(maps.dtype))
    trainer.train()
    handle.remove()
    assert set(seen) == {dtype}
    assert trainer.scaler.is_enabled() is (precision == "fp16")
    assert all(weights.is_cuda for weights in trainer.model.state_dict().values())
    fp32 = Compute(torch.device("cuda"), "fp32")
    assert evaluate(trainer.model, trainer.validation, fp32).accuracy > 0.9


def test_an_overflowing_fp16_step_is_skipped_and_the_scale_halved(tmp_path: Path) -> None:
    trainer = build(tmp_path, SETTINGS | {"precision": "fp16", "augmentation": {"enabled": False}})
    indices = trainer.training.order(0, 0)[:64]
    trainer.model.train()
    trainer.step(indices)
    scale = trainer.scaler.get_scale()
    before = trainer.model.head.weight.detach().clone()
    weight: Any = trainer.model.head.weight  # torch has no types for register_hook
    handle = weight.register_hook(lambda gradient: gradient * float("inf"))
    trainer.step(indices)
    handle.remove()
    assert torch.equal(trainer.model.head.weight, before)
    assert trainer.scaler.get_scale() == scale / 2
    trainer.step(indices)
    assert not torch.equal(trainer.model.head.weight, before)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gpu_training_resumes_from_the_state_it_stopped_in(precision: str, tmp_path: Path) -> None:
    settings = SETTINGS | {"precision": precision}
    first = build(tmp_path / "first", settings)
    step = first.step

    def step_and_stop(indices: torch.Tensor) -> None:
        step(indices)
        if first.position.step == 21:
            signal.raise_signal(signal.SIGTERM)

    first.step = step_and_stop  # type: ignore[method-assign]  # a real signal at a known step
    with pytest.raises(JobStopped):
        first.train()
    second_folder = tmp_path / "second"
    shutil.copytree(tmp_path / "first/work/checkpoints/21", second_folder / "checkpoint")
    second = build(second_folder, settings, 21)
    second.restore_or_start()
    assert second.position.step == 21
    for name, weights in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], weights), name
    assert second.scaler.state_dict() == first.scaler.state_dict()
    assert torch.equal(torch.cuda.get_rng_state(), first.state()["random"]["cuda"][0])
    second.train()
    assert second.position.step == second.total_steps
    assert evaluate(second.model, second.validation, second.compute).accuracy > 0.9


def test_auto_chooses_what_the_gpu_computes_natively(tmp_path: Path) -> None:
    trainer = build(tmp_path, SETTINGS)
    capability, _ = torch.cuda.get_device_capability()
    assert trainer.compute.precision == ("bf16" if capability >= 8 else "fp16")


def test_a_gpu_that_is_too_small_is_told_as_such() -> None:
    from worker.jobprocess import JobError
    from worker.training.memory import memory_failures

    with pytest.raises(JobError) as raised, memory_failures():
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert raised.value.failure_class == "out_of_memory"
    assert "GPU" in raised.value.reason


def test_half_precision_is_faster_where_products_dominate(tmp_path: Path) -> None:
    from benchmarks.gpu_amp import steps_per_second

    speeds = steps_per_second(tmp_path, steps=30)
    assert speeds["bf16"] > speeds["fp32"]
    assert speeds["fp16"] > speeds["fp32"]
