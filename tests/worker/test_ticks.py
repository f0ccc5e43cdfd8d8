"""What the control worker notes of its runs, and when it hears beat."""

from pathlib import Path

import pytest
from sqlalchemy import delete

from backend.core import ticks
from backend.core.db import Database
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from worker.app import Controls
from worker.beat import BEATEN, SCHEDULE
from worker.context import ControlContext


@pytest.mark.unit
def test_whatever_beat_rings_says_so() -> None:
    assert all(entry["options"]["headers"] == BEATEN for entry in SCHEDULE.values())


@pytest.mark.integration
def test_runs_are_noted_with_what_failed(controller_database: Database, tmp_path: Path) -> None:
    with controller_database.unit_of_work() as session:
        session.execute(delete(ticks.ControlTick))
    controls = Controls()
    context = ControlContext(controller_database, Settings(environment="test"), ObjectStore(f"file://{tmp_path}"), None)
    controls._context = context  # noqa: SLF001 - what a process builds from its environment
    broken = [True]

    @controls.register("test.works", every_seconds=600)
    def works(_context: ControlContext) -> int:
        return 3

    @controls.register("test.breaks")
    def breaks(_context: ControlContext) -> int:
        if broken[0]:
            raise RuntimeError("it broke")
        return 0

    controls.tick()
    controls.heard_beat()
    controls.note()
    assert read(controller_database) == {
        "test.works": (600.0, None), "test.breaks": (0.0, "RuntimeError: it broke"), ticks.BEAT: (0.0, None),
    }  # fmt: skip
    broken[0] = False
    controls.tick()
    controls.note()
    assert failing(controller_database) == {"test.breaks"}  # noted a moment ago: not so soon again
    controls.note(every_seconds=0)
    assert failing(controller_database) == set()


def read(database: Database) -> dict[str, tuple[float, str | None]]:
    with database.unit_of_work() as session:
        return {row.name: (row.every_seconds, row.failure) for row, age in ticks.read(session) if age < 60}


def failing(database: Database) -> set[str]:
    """Controls whose last run failed."""
    with database.unit_of_work() as session:
        rows = [row for row, _ in ticks.read(session)]
        return {row.name for row in rows if row.failed_at is not None and row.failed_at >= row.ran_at}
