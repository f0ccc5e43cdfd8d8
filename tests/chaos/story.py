"""What must be true of every job's story, whatever was killed meanwhile: told by the API and the provider's own log."""

import itertools
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from modelyard.client import Client
from modelyard.types import Job
from tests.fixtures.platform import RunningPlatform, wait_for

COMPLETES_SECONDS = 120.0


def completed(client: Client, job: Job) -> Job:
    """The job, once it has completed. Raises JobDidNotComplete, TimedOut."""
    return client.jobs.wait(job.id, timeout_seconds=COMPLETES_SECONDS, poll_seconds=0.1)


def has_checkpoint(platform: RunningPlatform, job: Job) -> bool:
    """Whether a checkpoint of the job is on record."""
    with platform.database("operator").engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT count(*) FROM checkpoints WHERE job_id = %s", (job.id,))
        return bool(found.scalar_one())


def check_attempts(client: Client, job: Job, statuses: list[str]) -> None:
    """The attempts ended so, in this order, one after the other."""
    attempts = sorted(client.jobs.attempts(job.id), key=lambda each: each.number)
    assert [attempt.status for attempt in attempts] == statuses, attempts
    assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))
    for before, after in itertools.pairwise(attempts):
        assert before.ended_at is not None
        assert after.started_at is not None
        assert before.ended_at <= after.started_at


def check_billed_once(platform: RunningPlatform, client: Client, job: Job) -> Decimal:
    """Slices are contiguous, never overlap, and lie within what the provider ran; returns the seconds billed.

    Charges must cover them exactly.
    """
    wait_for("the usage to be rated", lambda: all(each["rated_at"] for each in client.costs.usage(resource_id=job.id)))
    slices: dict[str, list[tuple[datetime, datetime, Decimal]]] = defaultdict(list)
    for record in client.costs.usage(resource_id=job.id):
        span = _moment(record["from_at"]), _moment(record["to_at"])
        slices[record["source_id"]].append((*span, Decimal(record["quantity"])))
    attempts = {attempt.id: attempt for attempt in client.jobs.attempts(job.id)}
    for source, spans in slices.items():
        spans.sort()
        assert spans[0][0] == attempts[source].started_at
        for from_at, to_at, quantity in spans:
            assert (to_at - from_at) / timedelta(milliseconds=1) == float(quantity * 1000)
        for before, after in itertools.pairwise(spans):
            assert before[1] == after[0], "slices of an attempt are contiguous"
    every = sorted(span for spans in slices.values() for span in spans)
    for before, after in itertools.pairwise(every):
        assert before[1] <= after[0], "no second of a job is billed to two attempts"
    billed = sum((span[2] for span in every), Decimal(0))
    charged = sum((charge.quantity for charge in client.costs.charges(resource_id=job.id)), Decimal(0))
    assert billed == charged
    assert Decimal(0) < billed <= provider_seconds(platform, job)
    return billed


def provider_seconds(platform: RunningPlatform, job: Job) -> Decimal:
    """Seconds that the provider ran the machines of this job's attempts, by the provider's own log."""
    tags = set(machine_tags(platform, job))
    assert len(tags) >= 1
    running: dict[str, int] = {}
    seconds = Decimal(0)
    for event in platform.provider_events():
        if event["tag"] in tags and event["event"] == "running":
            running[event["tag"]] = event["monotonic_ns"]
        elif event["tag"] in tags and event["event"] == "terminated":
            seconds += Decimal(event["monotonic_ns"] - running.pop(event["tag"])) / 10**9
    assert not running, "a machine of an ended job still runs"
    return seconds


def machines_gone(platform: RunningPlatform, job: Job) -> bool:
    """Whether the provider has ended every machine of the job."""
    ended = {event["tag"] for event in platform.provider_events() if event["event"] == "terminated"}
    return set(machine_tags(platform, job)) <= ended


def machine_tags(platform: RunningPlatform, job: Job) -> list[str]:
    """Tags of the machines that the job's attempts ran on."""
    with platform.database("operator").engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT instances.tag FROM attempts JOIN instances ON instances.id = attempts.instance_id"
            " WHERE attempts.job_id = %s",
            (job.id,),
        )
        return [row[0] for row in rows]


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
