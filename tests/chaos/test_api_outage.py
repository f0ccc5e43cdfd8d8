"""A long outage of the API loses no training and no report (★7): what agents saw meanwhile is told later, in order.

45 s here, three minutes with MODELYARD_OUTAGE_SECONDS=180 (`make bench NAME=api_outage`): both are well longer than
`lost_after_seconds`, and a training runs all the while.
"""

import itertools
import os
import time
from typing import Any

import pytest

from modelyard.client import Client
from modelyard.types import Job
from tests.chaos.faults import stopped
from tests.chaos.story import check_attempts, check_billed_once, machines_gone
from tests.fixtures.digits import DigitsPilot
from tests.fixtures.platform import RunningPlatform, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]
OUTAGE_SECONDS = float(os.environ.get("MODELYARD_OUTAGE_SECONDS", "45"))
LOST_AFTER_SECONDS = 20.0


def train(client: Client, pilot: DigitsPilot, name: str) -> Job:
    """A training of the digits without an end, that reports every step and writes a checkpoint each epoch."""
    version = pilot.versions["blue"].dataset_version_id
    assert version is not None
    endless = {"epochs": 10_000, "early_stopping": {"enabled": False}, "checkpoint_every_epochs": 1}
    hyperparameters = {**pilot.plan.hyperparameters, **endless}
    return client.training_jobs.create(
        pilot.project_id, name, dataset_version_id=version, model_name=name, hyperparameters=hyperparameters
    )


def rows(platform: RunningPlatform, query: str, job: Job) -> list[Any]:
    """What the query finds of a job."""
    with platform.database("operator").engine.connect() as connection:
        return list(connection.exec_driver_sql(query, (job.id,)))


def check_every_report(platform: RunningPlatform, job: Job) -> None:
    """Every number that its agent gave is a row, once; steps and checkpoints have no hole, and go on in order."""
    cursor = (
        "SELECT last_seq FROM report_cursors JOIN assignments AS a ON a.id = assignment_id WHERE a.resource_id = %s"
    )
    (last,) = rows(platform, cursor, job)[0]
    told = [
        *rows(platform, "SELECT seq, kind FROM reports JOIN assignments AS a ON a.id = assignment_id"
              " WHERE a.resource_id = %s", job),
        *rows(platform, "SELECT DISTINCT seq, 'metrics' FROM metric_chunks WHERE job_id = %s", job),
        *rows(platform, "SELECT seq, 'logs' FROM log_chunks WHERE job_id = %s", job),
        *rows(platform, "SELECT seq, 'utilisation' FROM utilisation_chunks"
              " JOIN assignments AS a ON a.id = assignment_id WHERE a.resource_id = %s", job),
    ]  # fmt: skip
    assert sorted(seq for seq, _ in told) == list(range(1, last + 1))
    kinds = dict(told)
    assert kinds[last] == "ended"
    assert kinds[1] == "started"
    chunks = rows(
        platform, "SELECT steps, times FROM metric_chunks WHERE job_id = %s AND name = 'train/loss' ORDER BY seq", job
    )
    steps = [step for chunk in chunks for step in chunk[0]]
    assert len({after - before for before, after in itertools.pairwise(steps)}) == 1, "steps have no hole"
    times = [moment for chunk in chunks for moment in chunk[1]]
    assert times == sorted(times)
    saved = [row[0] for row in rows(platform, "SELECT step FROM checkpoints WHERE job_id = %s ORDER BY id", job)]
    # Superseded ones may be cleared away; what is there is in order.
    assert saved == sorted(saved)
    assert steps[-1] - saved[-1] <= saved[-1], "the newest checkpoint is new"


def check_log(client: Client, job: Job) -> None:
    """The log can be read from its first line to its last, in order of time."""
    moments = [line.time for line in client.jobs.logs(job.id)]
    assert len(moments) > 0
    assert moments == sorted(moments)


def test_an_api_that_is_away_for_long_loses_nothing(platform: RunningPlatform, digits_pilot: DigitsPilot) -> None:
    client = platform.client()
    assert OUTAGE_SECONDS > 2 * LOST_AFTER_SECONDS
    job = train(client, digits_pilot, "outage")
    wait_for("the training to report", lambda: client.jobs.metrics(job.id).get("train/loss"), seconds=120)
    began = time.time()
    # Not `cut_off`: an API that agents do not reach and that beats all the same is a partition, and they are lost.
    with stopped(platform.child("api")):
        time.sleep(OUTAGE_SECONDS)
        assert platform.on_instances("worker.training"), "the training goes on"
    over = time.time()
    wait_for("the API to answer", platform.answers)
    client.jobs.stop(job.id)
    ended = wait_for("the job to end", lambda: _ended(client, job), seconds=120)
    check_attempts(client, ended, ["stopped"])
    check_every_report(platform, job)
    check_log(client, job)
    times = rows(platform, "SELECT unnest(times) FROM metric_chunks WHERE job_id = %s AND name = 'train/loss'", job)
    meanwhile = sorted(moment for (moment,) in times if began < moment < over)
    assert meanwhile[-1] - meanwhile[0] > OUTAGE_SECONDS - 10, "it trained all the while, and told of it"
    wait_for("the job's machines to be gone", lambda: machines_gone(platform, ended))
    check_billed_once(platform, client, ended)


def _ended(client: Client, job: Job) -> Job | None:
    found = client.jobs.get(job.id)
    return found if found.ended else None
