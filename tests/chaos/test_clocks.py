"""Clocks of hosts that are set while something is billed: the bill is the monotonic seconds, to the millisecond (★8).

The wall clocks of an instance's agent, of the provider and of the gateway jump forward and back by hours. Postgres's is
the clock of record (★1) and stays.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.audit import Audit, audit
from benchmarks.books import Books, read_books
from modelyard.types import Job
from tests.chaos.story import check_attempts, check_billed_once, completed, machines_gone
from tests.fixtures.platform import ON_PLATFORM, RHYTHM, RunningPlatform, new_running_platform, wait_for
from tests.fixtures.wallclock import WallClock

pytestmark = [*ON_PLATFORM, pytest.mark.slow]
AWAY_DAYS = 40
JUMPS = (5 * 3600, -30 * 3600, AWAY_DAYS * 86400)
"""Seconds from the true time; the last stays until the machine has ended."""


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    return WallClock(tmp_path_factory.mktemp("clock"), ["worker.agent", "worker.localhost", "worker.serving.gateway"])


@pytest.fixture(scope="module")
def running(clock: WallClock) -> Iterator[RunningPlatform]:
    made = new_running_platform({**RHYTHM, "PYTHONPATH": str(clock.folder)})
    try:
        made.up()
        yield made
    finally:
        made.discard()


def test_a_host_whose_clock_is_set_changes_no_bill(running: RunningPlatform, clock: WallClock) -> None:
    client = running.client()
    project_id = client.projects.ensure("clocks").id
    job = client.jobs.sleep(project_id, "jumped", seconds=8.0, keep_alive_seconds=3)
    wait_for("the job to run", lambda: client.jobs.get(job.id).status == "running")
    began = time.monotonic()
    for seconds in JUMPS:
        clock.jump(seconds)
        time.sleep(1.5)
    assert time.monotonic() - began < 8.0, "the clock was set while the job ran"
    ended = completed(client, job)
    check_attempts(client, ended, ["completed"])
    wait_for("the machine to be gone", lambda: machines_gone(running, ended), seconds=60)
    check_jumped(running, ended)
    check_billed_once(running, client, ended)
    found, books = audited(running)
    assert found.faults == []
    assert found.off_ms == 0
    (attempt,) = (duty for duty in books.duties if duty.kind == "attempt")
    assert attempt.told_seconds is not None
    assert attempt.ended_at is not None
    passed = attempt.ended_at - attempt.started_at  # by the clock of record: no more is billed
    billed = sum(((one.to_at - one.from_at) for one in books.usage if one.kind == "attempt"), timedelta(0))
    assert billed == min(timedelta(milliseconds=int(attempt.told_seconds * 1000)), _whole_milliseconds(passed))
    assert timedelta(seconds=attempt.told_seconds) - billed < timedelta(seconds=1), "a report's way, and no jump"
    assert timedelta(seconds=8) <= billed < timedelta(seconds=60)


DOCTORED = {
    "billed longer": "UPDATE usage_records SET to_at = to_at + interval '5 ms', quantity = quantity + 0.005"
    " WHERE id = (SELECT id FROM usage_records WHERE source_kind = 'hold')",
    "forgotten": "DELETE FROM charges; DELETE FROM usage_records WHERE source_kind = 'hold'",
    "somebody else's": "UPDATE usage_records SET source_id = gen_random_uuid() WHERE source_kind = 'hold'",
    "a dearer price": "UPDATE charges SET unit_price = unit_price * 2, amount = quantity * unit_price * 2",
    "never rated": "UPDATE usage_records SET rated_at = NULL",
    "half charged": "UPDATE charges SET quantity = quantity / 2, amount = quantity / 2 * unit_price",
}


@pytest.mark.parametrize("how", DOCTORED)
def test_rows_of_a_real_home_that_are_doctored_are_found(running: RunningPlatform, how: str) -> None:
    """After the test above, whose home is true."""
    assert audited(running)[0].faults == []
    with running.database("controller").engine.connect() as connection, connection.begin() as work:
        connection.exec_driver_sql(DOCTORED[how])
        books = read_books(running.home / "localhost" / "log.jsonl", connection)
        work.rollback()
    assert audit(books).faults != []


def _whole_milliseconds(length: timedelta) -> timedelta:
    return length - length % timedelta(milliseconds=1)


def audited(running: RunningPlatform) -> tuple[Audit, Books]:
    """The whole audit of the home."""
    with running.database("operator").engine.connect() as connection:
        books = read_books(running.home / "localhost" / "log.jsonl", connection)
    return audit(books), books


def check_jumped(running: RunningPlatform, job: Job) -> None:
    """The fault was real: agent and provider wrote times of another month, the database did not."""
    (tag,) = {event["tag"] for event in running.provider_events()}
    text = (running.home / "logs" / f"instance-{tag}.log").read_text()
    days = {line[:10] for line in text.splitlines() if line[:2] == "20"}
    assert (datetime.now(UTC) + timedelta(days=AWAY_DAYS)).date().isoformat() in days, days
    assert max(event["wall_ns"] for event in running.provider_events()) / 10**9 > time.time() + 86400
    assert job.ended_at is not None
    assert abs(datetime.now(UTC) - job.ended_at) < timedelta(minutes=5)
