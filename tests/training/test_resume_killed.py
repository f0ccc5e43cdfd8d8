"""The real process, killed without a word (SIGKILL) at any moment, and resumed from what it had told."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from backend.core.wire import CheckpointWritten, ResultWritten
from tests.training.folders import Told, sklearn_digits, write_channel, write_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REPOSITORY = Path(__file__).parents[2]
PARAMETERS = {
    "algorithm": "image-classification",
    "hyperparameters": {"epochs": 12, "width": 8, "hidden": 32, "checkpoint_every_seconds": 0.02},
}
ARTIFACT = ("model.safetensors", "model.onnx", "signature.json", "evaluation.json")


def attempt(folder: Path, channel: Path, checkpoint: Path | None, kill_after_lines: int | None) -> tuple[int, Told]:
    """One process; killed as soon as it has printed so many lines after its first checkpoint."""
    (folder / "input").mkdir(parents=True)
    (folder / "input" / "training").symlink_to(channel)
    write_spec(folder, "training", PARAMETERS, None if checkpoint is None else int(checkpoint.name))
    if checkpoint is not None:
        shutil.copytree(checkpoint, folder / "checkpoint")
    with subprocess.Popen(
        [sys.executable, "-m", "worker.training"],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        read, left = "", kill_after_lines
        for line in process.stdout:
            read += line
            if left is not None and (left != kill_after_lines or "checkpoint" in line):
                left -= 1
                if left == 0:
                    process.kill()
    return process.returncode, Told.parse(read)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_it_makes_the_same_model(seed: int, tmp_path: Path) -> None:
    channel = write_channel(tmp_path / "channel", sklearn_digits(600, 100, 60))
    code, whole = attempt(tmp_path / "whole", channel, None, None)
    assert code == 0
    random, checkpoint = Random(seed), None  # noqa: S311 - when to kill, not a secret
    for number in range(3):
        folder = tmp_path / f"killed-{number}"
        code, told = attempt(folder, channel, checkpoint, random.randint(2, 12))
        assert code == -signal.SIGKILL
        checkpoint = folder / "work" / told.of(CheckpointWritten)[-1].folder
    code, last = attempt(tmp_path / "last", channel, checkpoint, None)
    assert code == 0
    for name in ARTIFACT:
        files = [tmp_path / folder / "work" / "artifact" / name for folder in ("whole", "last")]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    summaries = [told.of(ResultWritten)[0].summary for told in (whole, last)]
    for summary in summaries:
        del summary["training_seconds"]
    assert summaries[0] == summaries[1]
