"""kill -9 of the worker that tells events loses nothing."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.core.settings import Settings
from tests.events.conftest import Teller
from tests.events.receiver import Receiver

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """A process of its own, which sends what is due."""
    url, key = settings.database.controller_url, settings.security.master_key
    assert url is not None
    assert key is not None
    variables = {
        "MODELYARD_HOME": str(settings.home),
        "MODELYARD_DATABASE__CONTROLLER_URL": url.get_secret_value(),
        "MODELYARD_SECURITY__MASTER_KEY": key.get_secret_value(),
        "MODELYARD_EVENTS__ALLOWED_HOSTS": '["127.0.0.1"]',
        "MODELYARD_EVENTS__TIMEOUT_SECONDS": "12",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.events.courier_process"], env=os.environ | variables, cwd=ROOT
    )


def wait_for(reached: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


def test_a_worker_killed_in_the_middle_of_an_attempt_loses_nothing(
    make_teller: Callable[..., Teller], receiver: Receiver, event_settings: Settings
) -> None:
    teller = make_teller()
    teller.subscribe(receiver.url)
    receiver.answers.append(8.0)
    teller.job("starting", "running")
    worker = start_worker(event_settings)
    try:
        wait_for(lambda: len(receiver.got) == 1)
    finally:
        worker.kill()
        worker.wait()
    # What it held is somebody else's once its lease is over, and still the first of its job.
    teller.tell()
    assert len(receiver.got) == 1
    teller.hurry()
    teller.tell()
    teller.tell()
    assert receiver.types() == ["job.queued", "job.queued", "job.starting", "job.running"]
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]
    assert {each["state"] for each in teller.log()} == {"delivered"}


def test_workers_killed_again_and_again_tell_every_event_in_order(
    make_teller: Callable[..., Teller], receiver: Receiver, event_settings: Settings
) -> None:
    teller = make_teller()
    teller.subscribe(receiver.url)
    jobs = [teller.job("starting", "running", "completed") for _ in range(3)]
    for count in (1, 4, 7):
        receiver.answers.extend([0.05] * 5)
        worker = start_worker(event_settings)
        try:
            wait_for(lambda wanted=count: len(receiver.got) >= wanted)  # type: ignore[misc]  # mypy has no type for it
        finally:
            worker.kill()
            worker.wait()
        teller.hurry()
    receiver.answers.clear()
    teller.tell()
    for job_id in jobs:
        mine = [got.json["type"] for got in receiver.got if got.json["data"]["resource"]["id"] == str(job_id)]
        once = list(dict.fromkeys(mine))
        assert once == ["job.queued", "job.starting", "job.running", "job.completed"]
        assert mine == sorted(mine, key=once.index)  # twice perhaps, never out of order
    assert {each["state"] for each in teller.log()} == {"delivered"}
