"""Which device and which number formats a training computes in."""

from dataclasses import dataclass
from typing import Literal

import torch

from worker.jobprocess import JobError

Precision = Literal["fp32", "bf16", "fp16"]

VALUES_PER_THREAD = 8_000_000


@dataclass(frozen=True)
class Compute:
    """A device and a precision. fp32 on a GPU uses TF32 tensor cores for products where it has them."""

    device: torch.device
    precision: Precision

    @classmethod
    def choose(cls, wanted: Literal["auto", "fp32", "bf16", "fp16"]) -> "Compute":
        """The GPU if there is one. Raises JobError (user_code) for fp16 without a GPU."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if wanted == "auto":
            return cls(device, _native_precision(device))
        if wanted == "fp16" and device.type == "cpu":
            raise JobError(
                "user_code",
                "Precision fp16 needs a GPU, and this instance has none.",
                "Choose precision auto or bf16, or an instance type with a GPU.",
            )
        return cls(device, wanted)

    @property
    def scales_gradients(self) -> bool:
        """fp16's range is too small for gradients: they need a GradScaler."""
        return self.precision == "fp16"

    def autocast(self) -> torch.autocast:
        """Context in which products run in the chosen precision."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.precision != "fp32")


def _native_precision(device: torch.device) -> Precision:
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16", False) else "fp32"


def threads_for(batch_values: int, cpu_count: float) -> int:
    """How many threads a step is worth: one per 8 million values (pixels x channels) of a batch's first
    feature map, at most the CPUs.

    Threads wait for each other by spinning at the end of every operator. For a small step a second thread is
    worth 1.6 times the speed on an idle machine and can cost 20 times on a shared one, so small steps take one
    (decision 11). The count depends on the job alone, so a resumed training adds its numbers in the same order.
    """
    return max(1, min(int(cpu_count), batch_values // VALUES_PER_THREAD))


def configure_backends(device: torch.device, threads: int) -> None:
    """Threads, determinism where it is free (CPU), TF32 and cuDNN's autotuner on a GPU."""
    torch.set_num_threads(threads)
    if device.type == "cpu":
        # What use_deterministic_algorithms sets for eager code; that one imports the compiler too, a second of CPU.
        torch.set_deterministic_debug_mode("error")
        # Filling every new tensor with NaN would cost time and find only bugs of torch itself.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # made at run time
    else:
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]  # made at run time
