"""The bell: it rings on a real broker, coalesces, and costs its caller nothing when the broker is gone."""

import json
import time
from collections.abc import Iterator

import pytest
import redis

from backend.core.bell import MAX_WAITING, RUNG, Bell
from backend.core.db import Doorbell
from backend.platform.embedded_valkey import EmbeddedValkey
from tests.platform.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def admin(embedded_valkey: EmbeddedValkey) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(embedded_valkey.url()) as client:
        yield client


def outcomes(name: str) -> float:
    return float(RUNG.labels(name)._value.get())  # noqa: SLF001 - prometheus_client has no public reader of one child


def test_a_doorbell_lies_in_its_queue_and_expires(embedded_valkey: EmbeddedValkey, admin: "redis.Redis") -> None:
    bell = Bell(embedded_valkey.broker_url())
    bell([Doorbell("jobs.control", queue="bell-test")])
    assert until(lambda: admin.llen("bell-test") == 1)
    message = json.loads(admin.lrange("bell-test", 0, 0)[0])
    assert message["headers"]["task"] == "jobs.control"
    assert message["headers"]["expires"] is not None
    admin.flushall()
    bell([Doorbell("jobs.control", queue="bell-test")])
    assert until(lambda: admin.llen("bell-test") == 1), "an emptied broker gets the next one"
    admin.delete("bell-test")


def test_equal_doorbells_that_wait_are_rung_once(embedded_valkey: EmbeddedValkey, admin: "redis.Redis") -> None:
    bell = Bell(embedded_valkey.broker_url())
    bell([Doorbell("jobs.control", queue="bell-same")] * 500 + [Doorbell("fleet.control", queue="bell-same")])
    assert until(lambda: admin.llen("bell-same") == 2)
    bell([Doorbell("last", queue="bell-last")])
    assert until(lambda: admin.llen("bell-last") == 1)
    assert admin.llen("bell-same") == 2
    admin.delete("bell-same", "bell-last")


def test_a_broker_that_is_down_neither_blocks_nor_raises() -> None:
    bell = Bell("redis://nobody:x@127.0.0.1:1/0")
    failed, dropped = outcomes("failed"), outcomes("dropped")
    slowest = 0.0
    for number in range(20):
        began = time.perf_counter()
        bell([Doorbell("jobs.control", queue=f"q{number}-{each}") for each in range(2 * MAX_WAITING // 20)])
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.3, "a broker that is asked and is not there takes 0.6 s"
    assert until(lambda: outcomes("failed") > failed)
    for _ in range(10):  # far more at once than may wait: the sender cannot keep up with each of these
        bell([Doorbell("jobs.control", queue=f"burst-{each}") for each in range(3 * MAX_WAITING)])
    assert outcomes("dropped") > dropped, "a bounded number waits"
