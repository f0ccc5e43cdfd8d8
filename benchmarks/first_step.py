"""Seconds from submitting over the public REST API to the first training step: warm instance, and cold.

Run `python -m benchmarks.first_step`; the last line is a JSON list. It starts a platform of its own on free ports,
uploads scikit-learn's digits, and submits short training jobs one after the other. *Cold*: no instance exists, the
platform is up. *Warm*: the instance of the job before is held (`keep_alive_seconds`), its data cached there, and
`REST_SECONDS` have passed since, as they have where a person submits. Time is Postgres's: `first_step_at - created_at`
of the job's row. Medians; exit 1 where a goal is missed.

Above the result stands where the time went, phase by phase, in medians, from the rows that every job leaves:

instance asked for      job created → instance row (cold only)
machine up              → its agent has said hello and the controller has called it ready (cold only)
placed                  → assignment row: the control task has run
process has its job     → start report accepted: doorbell, sync, inputs, sandbox or standby, report
reads its data          → first words of the job process, by the agent's clock: what is loaded before (0.00: a standby)
first step              → first step done, by the agent's clock: dataset decoded, model built, one step
step known              → first step accepted by Postgres, less the two above
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backend.fleet.models import Assignment, Instance, Report
from backend.jobs.models import Job
from modelyard.client import Client
from modelyard.images import write_archive
from modelyard.types import DatasetVersion
from tests.fixtures.digits import SPLITS, digits
from tests.fixtures.platform import RunningPlatform, new_running_platform

COLD, WARM = 3, 7
HOLD_SECONDS = 60
REST_SECONDS = 5
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


def run_one(
    platform: RunningPlatform, project_id: str, version: DatasetVersion, name: str, keep: int
) -> dict[str, float]:
    """One training job, run to its end: the seconds of its phases; `total` is to its first step."""
    client = platform.client()
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
    return phases(platform, UUID(job.id)) | {"total": (job.first_step_at - job.created_at).total_seconds()}


def phases(platform: RunningPlatform, job_id: UUID) -> dict[str, float]:
    """Seconds of each phase of a job that has ended, from its rows."""
    with platform.database("controller").unit_of_work() as session:
        job = session.get_one(Job, job_id)
        assignment = session.scalars(select(Assignment).where(Assignment.resource_id == job_id)).one()
        instance = session.get_one(Instance, assignment.instance_id)
        reports = session.scalars(select(Report).where(Report.assignment_id == assignment.id).order_by(Report.seq))
        told = [(each.kind, each.body.get("step", 0), each.received_at, each.elapsed_seconds) for each in reports]
        found = {}
        at = job.created_at
        if instance.requested_at > job.created_at and instance.ready_at is not None:
            found["instance asked for"] = (instance.requested_at - at).total_seconds()
            found["machine up"] = (instance.ready_at - instance.requested_at).total_seconds()
            at = instance.ready_at
        found["placed"] = (assignment.created_at - at).total_seconds()
    started, started_elapsed = next((at, elapsed) for kind, _, at, elapsed in told if kind == "started")
    loaded = next(elapsed for kind, _, _, elapsed in told if kind == "progress")
    known, stepped = next((at, elapsed) for kind, step, at, elapsed in told if kind == "progress" and step > 0)
    found["process has its job"] = (started - assignment.created_at).total_seconds()
    found["reads its data"] = loaded - started_elapsed
    found["first step"] = stepped - loaded
    found["step known"] = (known - started).total_seconds() - (stepped - started_elapsed)
    return found


def without_instances(platform: RunningPlatform) -> None:
    """Wait until no instance is left."""
    until = time.monotonic() + 90
    while platform.on_instances("worker.agent"):
        assert time.monotonic() < until, "an instance stays"
        time.sleep(0.2)


def measure(platform: RunningPlatform) -> dict[str, list[dict[str, float]]]:
    """The phases of every cold and warm job."""
    project_id, version = upload(platform.client())
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for number in range(COLD):
        without_instances(platform)
        last = number == COLD - 1
        keep = HOLD_SECONDS if last else 0
        found["cold"].append(run_one(platform, project_id, version, f"cold-{number}", keep))
    for number in range(WARM):
        time.sleep(REST_SECONDS)
        found["warm"].append(run_one(platform, project_id, version, f"warm-{number}", HOLD_SECONDS))
    return found


def show(kind: str, jobs: list[dict[str, float]]) -> None:
    """Print the phases of the median job."""
    print(f"{kind}, medians of {len(jobs)} jobs, seconds:")
    for name in jobs[0]:
        print(f"  {name:22} {median(job[name] for job in jobs):6.2f}")


def line(kind: str, jobs: list[dict[str, float]]) -> dict[str, Any]:
    """One result."""
    seconds = [job["total"] for job in jobs]
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
    for kind, jobs in found.items():
        show(kind, jobs)
    lines = [line(kind, found[kind]) for kind in ("warm", "cold")]
    print(json.dumps(lines))
    return 0 if all(one["met"] for one in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
