"""A job that only sleeps (job kind `sleep`): the smallest thing that proves the engine.

Life: read the parameters → continue at the time slept so far, if there is a checkpoint → sleep in slices of
0.2 s, telling progress (one step = one slice) → write a checkpoint each second → write a small result.
SIGTERM writes a last checkpoint and stops. `fail_with` raises at the end of the sleep, `memory_bytes`
allocates at the beginning, so that failures and limits can be tried on purpose.
"""

import math
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec

from worker.jobprocess import JobError, JobProcess, JobStopped, run_job

SLICE_SECONDS = 0.2
CHECKPOINT_SECONDS = 1.0
PAGE_BYTES = 4096


class SleepParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`seconds` to sleep; `fail_with`: a reason to fail with afterwards; `memory_bytes` to hold meanwhile."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)]
    fail_with: str | None = None
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


def sleep(process: JobProcess) -> None:
    """Sleep as the parameters say. Raises JobError (user_code) and JobStopped."""
    parameters = _parameters(process)
    ballast = _allocate(parameters.memory_bytes)
    slept = _slept_before(process)
    total_steps = math.ceil(parameters.seconds / SLICE_SECONDS)
    process.log(f"Sleeping {parameters.seconds:g} s, {slept:g} s of them already slept.")
    last_checkpoint = slept
    while slept < parameters.seconds:
        slice_seconds = min(SLICE_SECONDS, parameters.seconds - slept)
        time.sleep(slice_seconds)
        slept += slice_seconds
        process.progress(min(total_steps, round(slept / SLICE_SECONDS)), total_steps, "sleeping")
        if process.stop_requested or slept - last_checkpoint >= CHECKPOINT_SECONDS - 1e-9:
            _write_checkpoint(process, slept)
            last_checkpoint = slept
        if process.stop_requested:
            raise JobStopped
    if parameters.fail_with is not None:
        raise JobError("user_code", parameters.fail_with, "The job was asked to fail.")
    _write_result(process, slept, len(ballast))


def _parameters(process: JobProcess) -> SleepParameters:
    try:
        return msgspec.convert(process.spec.parameters, SleepParameters)
    except msgspec.ValidationError as error:
        raise JobError("user_code", f"The parameters are not valid: {error}") from error


def _allocate(size_bytes: int) -> bytearray:
    """Memory that counts: every page is written to."""
    ballast = bytearray(size_bytes)
    for offset in range(0, size_bytes, PAGE_BYTES):
        ballast[offset] = 1
    return ballast


def _slept_before(process: JobProcess) -> float:
    folder = process.checkpoint_folder
    if folder is None:
        return 0.0
    return float(msgspec.json.decode((folder / "slept.json").read_bytes())["slept_seconds"])


def _write_checkpoint(process: JobProcess, slept: float) -> None:
    step = round(slept / SLICE_SECONDS)
    folder = process.work_folder / "checkpoints" / str(step)
    _write(folder / "slept.json", {"slept_seconds": slept})
    process.checkpoint_written(step, folder)


def _write_result(process: JobProcess, slept: float, memory_bytes: int) -> None:
    folder = process.work_folder / "result"
    _write(folder / "slept.json", {"slept_seconds": slept})
    process.result_written(folder, {"slept_seconds": slept, "memory_bytes": memory_bytes})


def _write(path: Path, content: dict[str, float]) -> None:
    """Whole or not at all: written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    with beside.open("wb") as file:
        file.write(msgspec.json.encode(content))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(run_job(sleep))
