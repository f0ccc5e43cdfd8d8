"""Inference goes on with Postgres, Valkey and the API down, and is billed afterwards to the call (★7)."""

import time

import pytest

from tests.fixtures.digits import ServedDigits
from tests.fixtures.platform import ON_PLATFORM, RunningPlatform, wait_for

pytestmark = ON_PLATFORM


@pytest.mark.parametrize(
    "seconds", [pytest.param(8.0, id="short"), pytest.param(30.0, id="long", marks=pytest.mark.slow)]
)
def test_inference_outlives_the_control_plane(
    platform: RunningPlatform, served_digits: ServedDigits, seconds: float
) -> None:
    before = served_digits.answered
    with platform.frozen("api", "postgres", "valkey"):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            # A new connection each time goes by the gateway, the calls after the first by the replica alone.
            assert served_digits.call(20) == 20
            time.sleep(0.1)
    during = served_digits.answered - before
    assert during >= 20 * seconds / 2
    # The platform goes on: it answers, and the endpoint is what it was, served by the replica it had.
    assert served_digits.call(20) == 20
    wait_for("every call to be billed", lambda: served_digits.billed() == served_digits.answered, seconds=120)
    endpoint = platform.client().endpoints.detail(served_digits.endpoint_id)
    assert endpoint["status"] == "in_service"
    assert [replica["id"] for replica in endpoint["replicas"]] == [served_digits.replica_id]
