"""Jobs from the command line, while an agent's words arrive over HTTP."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from backend.core import wire
from tests.cli.conftest import Command
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand

pytestmark = pytest.mark.integration

Run = Callable[..., None]
Running = tuple[Hand, wire.Assignment]
FILE = wire.FileRef(name="state.json", sha256="a" * 64, size_bytes=3)
FAILURE = wire.Failure(
    failure_class="user_code",
    reason="The optimizer diverged.",
    hint="Lower the learning rate.",
    exit_code=65,
    peak_memory_bytes=300 * 1024 * 1024,
    log_tail=["epoch 1", "loss is nan"],
)


@pytest.fixture
def running(
    tenant: Tenant,
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    run_jobs: Run,
) -> Running:
    """The job `nap`, at step 3 of 10, with two lines of log and three points of a metric."""
    hand = ready_instance(tenant)
    submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    loss = wire.MetricSeries(name="loss", steps=[1, 2, 3], values=[3.0, 2.0, 2.5], times=[1.0, 2.0, 3.0])
    hand.sync(
        wire.Started(pid=1),
        wire.Progress(step=3, total_steps=10, phase="sleeping"),
        wire.Logs(lines=["first", "second"], times=[0.0, 1.5]),
        wire.Metrics(series=[loss]),
        assignment=assignment,
        elapsed=1.0,
    )
    run_jobs(tenant)
    return hand, assignment


@pytest.fixture
def shape(ready_instance: Callable[..., Hand], tenant: Tenant) -> None:
    """The instance type of the tests exists."""
    ready_instance(tenant)


@pytest.fixture
def complete(running: Running, run_jobs: Run, tenant: Tenant) -> Callable[[], None]:
    """End the job with a result, and let the controller see it."""
    hand, assignment = running

    def end() -> None:
        hand.sync(wire.Logs(lines=["third"], times=[2.0]), assignment=assignment, elapsed=2.0)
        hand.sync(
            wire.ResultSaved(files=[FILE], summary={}),
            wire.Ended(outcome="completed"),
            assignment=assignment,
            elapsed=2.5,
        )
        run_jobs(tenant)

    return end


@pytest.mark.usefixtures("running")
def test_a_running_job_as_table_and_json(command: Command) -> None:
    (job,) = command.json("jobs", "list", "--status", "running")
    assert (job["name"], job["kind"], job["progress"]["step"]) == ("nap", "sleep", 3)
    assert command.json("jobs", "list", "--kind", "training") == []
    table = command.ok("jobs", "list").stdout
    assert job["id"] in table
    assert "3 of 10" in table
    shown = command.ok("jobs", "show", "nap").stdout
    assert "test.cpu (on-demand)" in shown
    assert "sleeping" in shown
    assert command.json("jobs", "show", job["id"])["id"] == job["id"]
    (attempt,) = command.json("jobs", "attempts", "nap")
    assert (attempt["number"], attempt["status"]) == (1, "running")


@pytest.mark.usefixtures("running")
def test_metrics(command: Command) -> None:
    table = command.ok("jobs", "metrics", "nap").stdout
    (row,) = [line.split() for line in table.splitlines() if line.split()[:1] == ["loss"]]
    assert row == ["loss", "3", "3", "2.5", "2", "3"]
    assert command.json("jobs", "metrics", "nap", "--name", "loss")["loss"]["values"] == [3.0, 2.0, 2.5]
    absent = command("jobs", "metrics", "nap", "--name", "accuracy")
    assert (absent.status, "there are: loss" in absent.stderr) == (1, True)


def test_utilisation(command: Command, running: Running) -> None:
    assert command.json("jobs", "utilisation", "nap") == []
    hand, assignment = running
    used = wire.Utilisation(
        cpu_count=2.0,
        memory_limit_bytes=4 << 30,
        times=[100.0, 102.0],
        spans=[2.0, 2.0],
        cpu_cores=[1.0, 1.5],
        memory_bytes=[1e9, 5e8],
        read_bytes_per_second=[1024.0, 0.0],
        written_bytes_per_second=[0.0, 0.0],
    )
    hand.sync(used, assignment=assignment, elapsed=4.0)
    table = command.ok("jobs", "utilisation", "nap").stdout
    row = next(line for line in table.splitlines() if line.split()[:1] == ["1"])
    for words in ("4.0 s", "1.25", "1.50 of 2", "953.7 MiB of 4.0 GiB", "2.0 KiB", "0 B", "none"):
        assert words in row
    (found,) = command.json("jobs", "utilisation", "nap")
    assert found["cpu_cores"] == [1.0, 1.5]
    assert found["summary"]["cpu_cores_peak"] == 1.5


@pytest.mark.usefixtures("running")
def test_logs(command: Command) -> None:
    assert command.ok("jobs", "logs", "nap").stdout == "first\nsecond\n"
    assert command.ok("jobs", "logs", "nap", "--tail", "-t").stdout.splitlines() == [
        "1 1970-01-01 00:00:00 first",
        "1 1970-01-01 00:00:01 second",
    ]
    lines = command.ok("jobs", "logs", "nap", "-o", "json").stdout.splitlines()
    assert json.loads(lines[1]) == {"attempt": 1, "time": 1.5, "text": "second"}


def test_logs_are_followed_until_the_end(command: Command, complete: Callable[[], None]) -> None:
    ending = threading.Timer(0.7, complete)
    ending.start()
    started = time.monotonic()
    assert command.ok("jobs", "logs", "-f", "nap").stdout == "first\nsecond\nthird\n"
    assert time.monotonic() - started > 0.6
    ending.join()


def test_waiting_tells_what_happens_and_ends_with_the_job(command: Command, complete: Callable[[], None]) -> None:
    ending = threading.Timer(0.5, complete)
    ending.start()
    told = command.ok("jobs", "wait", "nap")
    ending.join()
    assert "nap: running: attempt 1 runs" in told.stderr
    assert told.stderr.splitlines()[-1] == "nap: completed"
    assert "completed" in told.stdout


def test_a_failure_is_told_with_its_evidence(command: Command, running: Running, run_jobs: Run, tenant: Tenant) -> None:
    hand, assignment = running
    hand.sync(wire.Ended(outcome="failed", failure=FAILURE), assignment=assignment, elapsed=2.0)
    run_jobs(tenant)
    told = command("jobs", "wait", "nap")
    assert told.status == 1
    news = told.stderr.splitlines()
    assert "error: job 'nap' is failed: The optimizer diverged." in news
    assert "hint: Lower the learning rate." in news
    assert [line.strip() for line in news[-4:]] == [
        "class: user_code",
        "peak memory: 300.0 MiB",
        "| epoch 1",
        "| loss is nan",
    ]
    as_json = command("jobs", "wait", "nap", "--output", "json")
    assert as_json.status == 1
    problem = json.loads(as_json.stderr.splitlines()[-1])
    assert (problem["code"], problem["hint"]) == ("failed", "Lower the learning rate.")


def test_stopping(command: Command, running: Running, run_jobs: Run, tenant: Tenant) -> None:
    hand, assignment = running
    assert command.json("jobs", "stop", "nap")["stop_requested_at"] is not None
    hand.sync(wire.Ended(outcome="stopped"), assignment=assignment, elapsed=2.0)
    run_jobs(tenant)
    again = command("jobs", "stop", "nap")
    assert again.status == 1
    waited = command("jobs", "wait", "nap")
    assert (waited.status, "is stopped" in waited.stderr) == (1, True)


@pytest.mark.usefixtures("shape")
def test_jobs_are_started_by_names(command: Command) -> None:
    words = ("sleep-jobs", "create", "nap", "--project", "digits", "--instance-type", SHAPE)
    made = command.json(*words, "--seconds", "2.5")
    assert (made["status"], made["parameters"]["seconds"]) == ("queued", 2.5)
    taken = command(*words)
    assert taken.status == 1
    assert "nap" in taken.stderr


@pytest.mark.usefixtures("shape")
def test_training_takes_its_hyperparameters_from_the_line(command: Command, tmp_path: Any) -> None:
    from tests.datasets.files import archive, digits

    file = tmp_path / "digits.zip"
    file.write_bytes(archive(digits(each=10)))
    command.ok("datasets", "create", "images", "-p", "digits")
    command.ok("datasets", "upload", "images", str(file))
    version = command.json("datasets", "freeze", "images")
    words = (
        "train",
        "t-1",
        "-p",
        "digits",
        "--dataset",
        "images:1",
        "--model",
        "m",
        "--tag",
        "team=blue",
        "--instance-type",
        SHAPE,
    )
    job = command.json(*words, "--set", "epochs=2", "--set", "augmentation.enabled=false", "--set", "precision=fp32")
    found = job["parameters"]["hyperparameters"]
    assert (found["epochs"], found["augmentation"]["enabled"], found["precision"]) == (2, False, "fp32")
    assert job["inputs"]["training"]["id"] == version["id"]
    assert (job["kind"], job["tags"]) == ("training", {"team": "blue"})
    refused = command(*("train", "t-2", "-p", "digits", "--dataset", "images", "--model", "m", "--set", "epoch=2"))
    assert refused.status == 1
    assert "epoch" in refused.stderr


def test_compression_starts_from_a_model_version(command: Command, register: Callable[..., str]) -> None:
    register()
    told = command("compression-jobs", "create", "c-1", "-p", "digits", "--model-version", "digits:1")
    # This version was registered without a dataset to measure on, and the API says so.
    assert told.status == 1
    assert "has no dataset version; name one" in told.stderr
