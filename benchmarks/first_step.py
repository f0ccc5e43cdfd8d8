"""Seconds from submitting over the public REST API to the first training step: warm instance, and cold.

Run `python -m benchmarks.first_step`; the last line is a JSON list. It starts a platform of its own on free ports,
uploads scikit-learn's digits, and submits short training jobs one after the other. *Cold*: no instance exists, the
platform is up. *Warm*: the instance of the job before is held (`keep_alive_seconds`), its data cached there. Time is
Postgres's: `first_step_at - created_at` of the job's row. Medians; exit 1 where a goal is missed.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from modelyard.client import Client
from modelyard.images import write_archive
from modelyard.types import DatasetVersion
from tests.fixtures.digits import SPLITS, digits
from tests.fixtures.platform import RunningPlatform, new_running_platform

COLD, WARM = 3, 7
HOLD_SECONDS = 60
GOALS = {"warm": (1.0, 0.4), "cold": (6.0, 3.0)}
"""Seconds: goal, stretch."""


def upload(client: Client) -> tuple[str, DatasetVersion]:
    """A project and a dataset version of the digits."""
    project = client.projects.create("first-step")
    dataset = client.datasets.create(project.id, "digits")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "digits.zip"
        write_archive(archive, digits())
        client.datasets.upload(dataset.id, archive, part_size_bytes=1 << 20)
    return project.id, client.datasets.freeze(dataset.id, splits=SPLITS)


def seconds_to_first_step(client: Client, project_id: str, version: DatasetVersion, name: str, keep: int) -> float:
    """One training job, run to its end."""
    job = client.training_jobs.create(
        project_id,
        name,
        dataset_version_id=version.id,
        model_name="first-step",
        hyperparameters={"epochs": 1, "width": 8},
        keep_alive_seconds=keep,
    )
    job = client.jobs.wait(job.id, timeout_seconds=180)
    assert job.first_step_at is not None
    return (job.first_step_at - job.created_at).total_seconds()


def without_instances(platform: RunningPlatform) -> None:
    """Wait until no instance is left."""
    until = time.monotonic() + 90
    while platform.on_instances("worker.agent"):
        assert time.monotonic() < until, "an instance stays"
        time.sleep(0.2)


def measure(platform: RunningPlatform) -> dict[str, list[float]]:
    """Seconds of every cold and warm job."""
    client = platform.client()
    project_id, version = upload(client)
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    for number in range(COLD):
        without_instances(platform)
        last = number == COLD - 1
        keep = HOLD_SECONDS if last else 0
        found["cold"].append(seconds_to_first_step(client, project_id, version, f"cold-{number}", keep))
    for number in range(WARM):
        found["warm"].append(seconds_to_first_step(client, project_id, version, f"warm-{number}", HOLD_SECONDS))
    return found


def line(kind: str, seconds: list[float]) -> dict[str, Any]:
    """One result."""
    goal, stretch = GOALS[kind]
    value = median(seconds)
    return {
        "name": f"first_step_{kind}",
        "value": round(value, 3),
        "unit": "s, median",
        "against": f"a limit of {goal} s",
        "ratio": round(goal / value, 3),
        "goal": goal,
        "stretch": stretch,
        "met": value <= goal,
        "all": [round(one, 3) for one in seconds],
    }


def main() -> int:
    """Print the JSON lines."""
    platform = new_running_platform()
    try:
        platform.up()
        found = measure(platform)
    finally:
        platform.discard()
    lines = [line(kind, found[kind]) for kind in ("warm", "cold")]
    print(json.dumps(lines))
    return 0 if all(one["met"] for one in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
