"""Full disks, one at a time: users are told so, what runs goes on or waits, and with room again nothing is missing.

| whose disk | meanwhile | afterwards |
|---|---|---|
| API's objects | 507 `storage_full`; trainings go on, their uploads wait | all is uploaded |
| Postgres's | 503 or 507; what cannot be written is not answered with 2xx | all goes on |
| agent's | reports wait in memory; a checkpoint that finds no room fails its attempt | the job completes |
| replica's usage folder | 503 `usage cannot be recorded`: no answer that cannot be billed | 200, each is billed |
| gateway's | answers go on; the routing table is not saved | |
| local provider's | machines run; new ones wait | they come |
| Valkey's memory, logs | doorbells are lost, the tick does it | |
"""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import make_version
from modelyard.client import Client
from modelyard.errors import ApiError
from modelyard.images import write_archive
from modelyard.inference import InferenceClient
from modelyard.pilot import tensor
from modelyard.types import Job, ModelVersion
from tests.chaos.faults import disk_full
from tests.chaos.story import check_billed_once, completed, machines_gone
from tests.fixtures.digits import SIDE, digits
from tests.fixtures.disks import can_mount
from tests.fixtures.platform import ON_PLATFORM, RHYTHM, RunningPlatform, new_running_platform, wait_for

pytestmark = [
    *ON_PLATFORM,
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="mounting takes root"),
]


@pytest.fixture(scope="module")
def home() -> Iterator[RunningPlatform]:
    """A platform whose disks can be full."""
    running = new_running_platform(RHYTHM, disks=True)
    try:
        running.up()
        yield running
    finally:
        running.discard()


@pytest.fixture(scope="module")
def client(home: RunningPlatform) -> Client:
    return home.client()


@pytest.fixture(scope="module")
def project_id(client: Client) -> str:
    return client.projects.ensure("full").id


@pytest.fixture(scope="module")
def version(client: Client, project_id: str) -> ModelVersion:
    return make_version(client, project_id)


def begun(client: Client, job: Job) -> Job:
    """The job, once it runs."""
    wait_for("the job to run", lambda: client.jobs.get(job.id).status == "running")
    return job


def check_done(home: RunningPlatform, client: Client, job: Job) -> None:
    """It completes, its machines are gone, and each second is billed once."""
    ended = completed(client, job)
    wait_for("the job's machines to be gone", lambda: machines_gone(home, ended))
    check_billed_once(home, client, ended)


def test_an_upload_that_finds_no_room_is_told_so(
    home: RunningPlatform, client: Client, project_id: str, tmp_path: Path
) -> None:
    archive = tmp_path / "digits.zip"
    write_archive(archive, digits())
    dataset = client.datasets.create(project_id, "too-much")
    with disk_full(home, "api"):
        with pytest.raises(ApiError) as refused:
            client.datasets.upload(dataset.id, archive, part_size_bytes=1 << 20)
        assert (refused.value.status, refused.value.code) == (507, "storage_full")
        assert "no room" in refused.value.problem["detail"]
        assert client.datasets.get(dataset.id).name == "too-much"
    assert client.datasets.upload(dataset.id, archive, part_size_bytes=1 << 20).status == "completed"


def test_a_database_without_room_refuses_and_goes_on(home: RunningPlatform, client: Client, project_id: str) -> None:
    made: list[str] = []
    with disk_full(home, "postgres"):
        refused = None
        for number in range(2000):
            try:
                made.append(client.datasets.create(project_id, f"row-{number}-{'x' * 40}").id)
            except ApiError as error:
                refused = error
                break
        assert refused is not None, "the disk was never full"
        assert refused.status in {503, 507}
        assert refused.code in {"unavailable", "no_space"}
    wait_for("Postgres to be back", lambda: _answers(client))
    for dataset_id in made:
        assert client.datasets.get(dataset_id).id == dataset_id, "what was answered with 201 is there"
    check_done(home, client, client.jobs.sleep(project_id, "after-postgres", seconds=1.0))


def _answers(client: Client) -> bool:
    try:
        list(client.projects.list())
    except ApiError:
        return False
    return True


@pytest.mark.parametrize("whose", ["agent", "api", "localhost", "valkey", "worker", "gateway", "beat"])
def test_a_job_completes_though_a_disk_was_full_while_it_ran(
    home: RunningPlatform, client: Client, project_id: str, whose: str
) -> None:
    job = begun(client, client.jobs.sleep(project_id, f"meanwhile-{whose}", seconds=6.0))
    with disk_full(home, whose):
        time.sleep(4)
    check_done(home, client, job)


@pytest.mark.parametrize("whose", ["agent", "api", "localhost"])
def test_a_job_begins_once_there_is_room(home: RunningPlatform, client: Client, project_id: str, whose: str) -> None:
    with disk_full(home, whose):
        job = client.jobs.sleep(project_id, f"waits-{whose}", seconds=1.0)
        time.sleep(5)
    check_done(home, client, job)


def test_no_call_is_answered_that_cannot_be_billed(
    home: RunningPlatform, client: Client, project_id: str, version: ModelVersion
) -> None:
    variants = [{"name": "only", "model_version_id": version.id, "weight": 1}]
    endpoint = client.endpoints.create(project_id, "metered", variants=variants)
    client.endpoints.wait(endpoint.id, timeout_seconds=90)
    entry = tensor(version.signature, bytes(range(0, 4 * SIDE * SIDE, 4)))
    answered = 0
    with InferenceClient(home.gateway_url, home.owner["api_key"]) as inference:
        inference.wait_ready("metered")
        for _ in range(30):
            inference.infer("metered", **entry)
            answered += 1
        with disk_full(home, "replica"):
            refused = [said for _ in range(300) if (said := _refusal(inference, entry)) is not None]
            # What the last page of the segment still held was answered, and is billed.
            answered += 300 - len(refused)
            assert len(refused) > 200
            assert set(refused) == {(503, "usage cannot be recorded")}
        with disk_full(home, "gateway"):
            for _ in range(30):
                inference.infer("metered", **entry)
                answered += 1

    def billed() -> Decimal:
        charges = client.costs.charges(resource_id=endpoint.id)
        return sum((charge.quantity for charge in charges if charge.unit == "call"), Decimal(0))

    wait_for("every call to be billed", lambda: billed() >= answered, seconds=90)
    assert billed() == answered
    client.endpoints.delete(endpoint.id)


def _refusal(inference: InferenceClient, entry: dict[str, Any]) -> tuple[int, str] | None:
    """Status and error of a call that is refused; None when it is answered."""
    try:
        inference.infer("metered", **entry)
    except ApiError as error:
        return error.status, error.problem["error"]
    return None
