"""Checkpoints: folders that are complete or absent.

A checkpoint is the folder `checkpoints/<step>/` under the work folder: `state.pt` (tensors, numbers, strings:
read with `weights_only`, never unpickled code) and `manifest.json`, written last, with the digest of the
other. The folder is built under another name, synced to disk and renamed.

A training that goes on hands its state to a `CheckpointWriter`: the step pays for a copy of the tensors, a thread
writes, syncs, digests and tells. Where the disk has no room for one, the training says so and goes on: it has the one
before, and the next may fit again.
"""

import errno
import hashlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from worker.jobprocess import JobError

FORMAT = 1
KEPT_ON_DISK = 3
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
State = dict[str, Any]


class CheckpointManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`: what the folder holds."""

    format: int
    step: int
    state_sha256: str
    torch_version: str


class _Format(msgspec.Struct, frozen=True):
    """What every manifest says, whatever its format."""

    format: int


@dataclass(frozen=True)
class Checkpoint:
    """What was read: all that the trainer saved, and the version of torch that saved it."""

    state: State
    torch_version: str


def write_checkpoint(work_folder: Path, step: int, state: State) -> Path:
    """Write `state` as the checkpoint of `step`; answer its folder. Older ones but the last three are removed.

    Raises OSError; nothing of this checkpoint stays then.
    """
    checkpoints = work_folder / "checkpoints"
    folder, beside = checkpoints / str(step), checkpoints / f".{step}.partial"
    for leftover in (folder, beside):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        _save(state, beside / "state.pt")
        _sync(beside / "state.pt")
        manifest = CheckpointManifest(
            format=FORMAT,
            step=step,
            state_sha256=_digest(beside / "state.pt"),
            torch_version=str(torch.__version__),
        )
        (beside / "manifest.json").write_bytes(msgspec.json.encode(manifest))
        _sync(beside / "manifest.json")
        beside.rename(folder)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _sync(checkpoints)
    _remove_old(checkpoints)
    return folder


def _save(state: State, path: Path) -> None:
    """`torch.save`, with what the disk said: PyTorch ends its archive after a failed write too, and says only that."""
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


class CheckpointWriter:
    """Writes one checkpoint at a time beside the training. Used by one thread; `told` is called by another.

    `no_room` is called by the first, where a checkpoint was left out because the disk is full.
    """

    def __init__(
        self, work_folder: Path, told: Callable[[int, Path], None], no_room: Callable[[OSError], None]
    ) -> None:
        self._work_folder = work_folder
        self._told = told
        self._no_room = no_room
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def write(self, step: int, state: State) -> None:
        """Begin to write a copy of `state`; a checkpoint that is still being written is waited for first.

        Raises what writing that one raised.
        """
        self.finish()
        self._thread = threading.Thread(target=self._run, args=(step, _copied(state)), name="checkpoint")
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether something was begun that nobody has waited for."""
        return self._thread is not None

    def finish(self) -> None:
        """Wait until what was begun is written and told, or left out. Raises what writing it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            self._no_room(error)
        elif error is not None:
            raise error

    def _run(self, step: int, state: State) -> None:
        try:
            self._told(step, write_checkpoint(self._work_folder, step, state))
        except Exception as error:  # noqa: BLE001 - raised again where the training waits for it
            self._error = error


def _copied(value: Any) -> Any:  # noqa: ANN401 - any part of a state
    """The same with tensors of its own on the CPU: the training goes on changing its."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {name: _copied(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(each) for each in value)
    return value


def read_checkpoint(folder: Path, step: int | None = None) -> Checkpoint:
    """The checkpoint in `folder`, its state on the CPU. `step`: of which step it is said to be.

    Raises JobError (platform) where it is incomplete, damaged, of another step or of an unknown format.
    """
    manifest = _read_manifest(folder)
    if step is not None and manifest.step != step:
        raise JobError("platform", f"The checkpoint of step {step} holds step {manifest.step}.")
    try:
        whole = manifest.state_sha256 == _digest(folder / "state.pt")
    except OSError as error:
        raise JobError("platform", f"The checkpoint cannot be read: {error}") from error
    if not whole:
        raise JobError("platform", f"The checkpoint of step {manifest.step} is damaged.")
    state: State = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    return Checkpoint(state, manifest.torch_version)


def _read_manifest(folder: Path) -> CheckpointManifest:
    try:
        content = (folder / "manifest.json").read_bytes()
        written = msgspec.json.decode(content, type=_Format).format
        if written != FORMAT:
            raise JobError(
                "platform",
                f"The checkpoint has format {written}; this version of the platform reads format {FORMAT}.",
                "Resume with the version that wrote it, or train anew.",
            )
        return msgspec.json.decode(content, type=CheckpointManifest)
    except (OSError, msgspec.DecodeError) as error:
        raise JobError("platform", f"The checkpoint cannot be read: {error}") from error


def seed_random(seed: int) -> None:
    """Every generator from one seed, whatever this process drew before."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one
    torch.manual_seed(seed)


def random_state() -> State:
    """Every generator's state: Python's, numpy's, torch's on CPU and on each GPU."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one
    return {
        "python": random.getstate(),
        "numpy": _plain(numpy_state),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: State) -> None:
    """Back to `random_state`; GPU generators only where as many GPUs are here as were there."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 - the global one
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _plain(state: Mapping[str, Any]) -> State:
    """The nested state of numpy's generator with its array as a list, which `weights_only` can read back."""
    plain: State = {}
    for name, value in state.items():
        if isinstance(value, Mapping):
            plain[name] = _plain(value)
        else:
            plain[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return plain


def _remove_old(checkpoints: Path) -> None:
    steps = sorted(int(folder.name) for folder in checkpoints.iterdir() if folder.name.isdigit())
    for step in steps[:-KEPT_ON_DISK]:
        shutil.rmtree(checkpoints / str(step))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
