"""Killing what carries a job, and taking its broker away: it finishes and every second is billed once."""

from collections.abc import Iterator

import psutil
import pytest
import redis

from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.folders import runtime_folder
from modelyard.client import Client
from modelyard.types import Job
from tests.chaos.story import check_attempts, check_billed_once, completed, has_checkpoint, machine_tags, machines_gone
from tests.fixtures.digits import DigitsPilot
from tests.fixtures.platform import ON_PLATFORM, RunningPlatform, only, wait_for

pytestmark = ON_PLATFORM
SECONDS = 6.0


@pytest.fixture
def client(platform: RunningPlatform) -> Client:
    return platform.client()


@pytest.fixture
def valkey(platform: RunningPlatform) -> Iterator["redis.Redis"]:
    """The platform's broker, as its administrator."""
    server = EmbeddedValkey(platform.home, runtime_folder(platform.home))
    connection = redis.Redis.from_url(server.url())
    yield connection
    connection.close()


def nap(client: Client, name: str) -> Job:
    """A job that sleeps and writes a checkpoint each second."""
    return client.jobs.sleep(client.projects.ensure("chaos").id, name, seconds=SECONDS)


def has_begun(platform: RunningPlatform, client: Client, job: Job) -> None:
    """Wait until the job has something to lose: it runs, and a checkpoint is kept."""

    def begun() -> bool:
        found = client.jobs.get(job.id)
        assert not found.ended, "the job ended before it could be disturbed"
        return found.status == "running" and has_checkpoint(platform, job)

    wait_for("the job to run and write a checkpoint", begun)


def check_story(platform: RunningPlatform, client: Client, job: Job, *statuses: str) -> None:
    """The job completes, its attempts ended as told, its machines are gone, its seconds are billed once."""
    job = completed(client, job)
    check_attempts(client, job, list(statuses))
    wait_for("the job's machines to be gone", lambda: machines_gone(platform, job))
    billed = check_billed_once(platform, client, job)
    if statuses == ("completed",):
        # One attempt: all it slept, and what the process and its last upload took.
        assert billed >= SECONDS - 0.1


def kill(process: psutil.Process) -> None:
    """kill -9, by process id."""
    process.kill()
    process.wait(10)


def test_killing_the_control_worker(platform: RunningPlatform, client: Client) -> None:
    job = nap(client, "worker-killed")
    has_begun(platform, client, job)
    worker = platform.child("worker")
    kill(worker)
    check_story(platform, client, job, "completed")
    assert platform.child("worker").pid != worker.pid


def test_killing_the_api(platform: RunningPlatform, client: Client) -> None:
    job = nap(client, "api-killed")
    has_begun(platform, client, job)
    kill(platform.child("api"))
    wait_for("the API to be back", platform.answers)
    check_story(platform, client, job, "completed")


def test_killing_the_agent(platform: RunningPlatform, client: Client) -> None:
    job = nap(client, "agent-killed")
    has_begun(platform, client, job)
    kill(agent_of(platform, job))
    check_story(platform, client, job, "interrupted", "completed")


def test_killing_the_job_process(platform: RunningPlatform, client: Client) -> None:
    job = nap(client, "sleeper-killed")
    has_begun(platform, client, job)
    kill(innermost(platform, "worker.sleeping"))
    check_story(platform, client, job, "interrupted", "completed")


def test_emptying_valkey_while_queued_and_while_running(
    platform: RunningPlatform, client: Client, valkey: "redis.Redis"
) -> None:
    job = nap(client, "broker-emptied")
    valkey.flushall()
    has_begun(platform, client, job)
    valkey.flushall()
    check_story(platform, client, job, "completed")


def test_with_valkey_stopped(platform: RunningPlatform, client: Client) -> None:
    with platform.frozen("valkey"):
        job = nap(client, "broker-stopped")
        job = completed(client, job)
    check_story(platform, client, job, "completed")


def test_killing_valkey(platform: RunningPlatform, client: Client) -> None:
    job = nap(client, "broker-killed")
    has_begun(platform, client, job)
    kill(platform.child("valkey"))
    check_story(platform, client, job, "completed")


@pytest.mark.slow
def test_killing_the_trainer_in_the_middle(
    platform: RunningPlatform, client: Client, digits_pilot: DigitsPilot
) -> None:
    trained_on = digits_pilot.versions["blue"].dataset_version_id
    assert trained_on is not None
    hyperparameters = {**digits_pilot.plan.hyperparameters, "epochs": 12, "checkpoint_every_epochs": 1}
    job = client.training_jobs.create(
        digits_pilot.project_id,
        "trainer-killed",
        dataset_version_id=trained_on,
        model_name="survivor",
        hyperparameters=hyperparameters,
    )
    has_begun(platform, client, job)
    kill(innermost(platform, "worker.training"))
    check_story(platform, client, job, "interrupted", "completed")
    job = client.jobs.get(job.id)
    steps = client.jobs.metrics(job.id)["train/loss"].steps
    assert steps == sorted(set(steps)), "the second attempt went on where the first one's checkpoint was"
    assert client.models.version(job.output["model_version_id"]).job_id == job.id


def agent_of(platform: RunningPlatform, job: Job) -> psutil.Process:
    """The agent on the job's machine: not the process one that keeps it (whose command line names the agent too)."""
    folder = str(platform.home / "instances" / only(machine_tags(platform, job)))
    agents = platform.on_instances("worker.agent", folder)
    return only(one for one in agents if not any("machine_init" in word for word in one.cmdline()))


def innermost(platform: RunningPlatform, module: str) -> psutil.Process:
    """The job process itself, below the sandbox's own."""
    found = platform.on_instances(module)
    return max(found, key=lambda process: len(process.parents()))
