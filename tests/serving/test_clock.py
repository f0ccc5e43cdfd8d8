"""A replica and a gateway whose wall clock is set by days: every call is answered and metered, segments are sealed."""

import time
from pathlib import Path

import pytest

from tests.fixtures.wallclock import WallClock
from tests.serving.conftest import Plane
from tests.serving.plane import Client, until, usage
from worker.serving.usage import SEAL_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.slow]
DAY = 86_400


def test_a_clock_that_is_set_loses_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clock").mkdir()
    clock = WallClock(tmp_path / "clock", ["worker.serving.replica", "worker.serving.gateway"])
    monkeypatch.setenv("PYTHONPATH", str(clock.folder))
    plane = Plane(tmp_path)
    folder = tmp_path / "r"
    try:
        plane.wait()
        for days in (0, 30, -30):
            clock.jump(days * DAY)
            with Client(plane.port) as client:
                assert [client.infer([[1.0] * 4])[0] for _ in range(20)] == [200] * 20
        until(lambda: list((folder / "usage").glob("sealed-*.jsonl")), SEAL_SECONDS + 10)
    finally:
        plane.close()
    lines = usage(folder)
    assert sum(line.calls for line in lines) == 60
    away = sorted({round((line.at - time.time()) / DAY) for line in lines})
    assert away == [-30, 0, 30], "the clock was really set"
