"""The GPUs of this instance as NVIDIA's driver counts them, where there is a driver and `nvidia-ml-py` to ask it.

Counted is the device, not the process: an instance does one thing at a time for one organization.
`CUDA_VISIBLE_DEVICES` (indices or ids), which narrows what jobs see, narrows what is counted.
"""

import functools
import importlib
import logging
import os
import threading
from pathlib import Path
from typing import Any

import msgspec

CONTROL_DEVICE = Path("/dev/nvidiactl")
_LOG = logging.getLogger(__name__)
_OPENING = threading.Lock()


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """`share`: 0 to 1, of the time in which a kernel ran, mean over the GPUs; memory is summed."""

    share: float
    memory_bytes: float


class Gpus:
    """The GPUs that jobs of this agent see. `nvml` is the module pynvml, initialised."""

    def __init__(self, nvml: Any) -> None:  # noqa: ANN401 # a module without types
        self._nvml = nvml
        self._devices = _devices(nvml)
        self.memory_bytes = sum(int(nvml.nvmlDeviceGetMemoryInfo(device).total) for device in self._devices)

    @property
    def count(self) -> int:
        """How many."""
        return len(self._devices)

    def read(self) -> GpuUse | None:
        """What is used now; None where the driver does not say (any more)."""
        try:
            busy = [int(self._nvml.nvmlDeviceGetUtilizationRates(device).gpu) for device in self._devices]
            held = [int(self._nvml.nvmlDeviceGetMemoryInfo(device).used) for device in self._devices]
        except self._nvml.NVMLError as error:
            _LOG.warning("the GPUs are not measured: %s", error)
            return None
        return GpuUse(share=sum(busy) / len(busy) / 100, memory_bytes=float(sum(held)))


def _devices(nvml: Any) -> list[Any]:  # noqa: ANN401 # a module without types
    """Handles of the visible devices."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(each)) if each.isdigit() else nvml.nvmlDeviceGetHandleByUUID(each)
        for each in (one.strip() for one in named.split(","))
        if each and each != "-1"
    ]


def open_gpus() -> Gpus | None:
    """The GPUs here, asked for once per process (the driver may take seconds); None: there is nothing to measure."""
    with _OPENING:
        return _open()


@functools.cache
def _open() -> Gpus | None:
    if not CONTROL_DEVICE.exists():
        return None
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        _LOG.info("the GPUs are not measured: nvidia-ml-py is not installed")
        return None
    try:
        nvml.nvmlInit()
        gpus = Gpus(nvml)
    except nvml.NVMLError as error:
        _LOG.warning("the GPUs are not measured: %s", error)
        return None
    return gpus if gpus.count else None
