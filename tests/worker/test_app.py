"""The control worker knows every control, by Celery and by its own tick."""

import pytest

from worker.app import app, controls

pytestmark = pytest.mark.unit

EVERY = {"jobs.control", "fleet.control", "endpoints.control", "billing.control", "datasets.control", "audit.control"}


def test_every_control_is_registered_with_the_tick_and_celery() -> None:
    assert set(controls.by_name) >= EVERY
    assert set(app.tasks) >= set(controls.by_name)


def test_beat_sends_only_tasks_that_exist() -> None:
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(controls.by_name)
