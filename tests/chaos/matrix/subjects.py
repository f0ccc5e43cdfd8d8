"""What is struck: jobs (and, in `endpoints`, an endpoint's life), each told in a thread of its own."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from modelyard.client import Client
from modelyard.types import Job
from tests.chaos.matrix.cases import TRAINING, Case
from tests.chaos.matrix.patience import Red, eventually, patiently
from tests.chaos.matrix.phases import FINAL
from tests.chaos.matrix.rows import Rows

if TYPE_CHECKING:
    from tests.chaos.matrix.home import Home

ENDS_SECONDS = 150.0
TINY_TRAINING = {
    "width": 8,
    "hidden": 16,
    "epochs": 40,
    "batch_size": 64,
    "checkpoint_every_epochs": 10,
    "early_stopping": {"enabled": False},
}
ENGINE_PHASES = ("queued", "provisioning", "starting")
"""What happens in these is the same for every kind of job."""
SLEEP_SECONDS = 1.5
LENIENT = {"max_accuracy_loss_points": 100.0, "minimum_speedup": 0.0, "calibration_images": 64}
JOB_TAGS = """
    SELECT tag FROM instances
    WHERE requested_for IN (SELECT id FROM jobs WHERE name = %s)
       OR id IN (SELECT instance_id FROM attempts JOIN jobs ON jobs.id = attempts.job_id WHERE jobs.name = %s)
    ORDER BY requested_at
"""


class Subject:
    """A story that runs beside the fault. `calm` is set when the fault is over."""

    def __init__(self, home: "Home", case: Case, name: str) -> None:
        self.home, self.case, self.name = home, case, name
        self.calm = threading.Event()
        self.over = threading.Event()
        self.rows = Rows(home.platform)
        self.client = Client(home.platform.api_url, home.api_key, timeout_seconds=60.0)
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait for the story's end. Raises what went wrong in it."""
        self._thread.join(ENDS_SECONDS * 2)
        if self._thread.is_alive():
            raise Red("the story did not end")
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            self.tell()
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - raised again in `finish`
            self._problem = error if isinstance(error, Exception) else Red(str(error))
        finally:
            self.over.set()
            self.rows.close()
            self.client.close()

    def tell(self) -> None:
        """The whole story, to its right end."""
        raise NotImplementedError

    def tags(self, rows: Rows) -> Sequence[str]:
        """Its machines, oldest first."""
        raise NotImplementedError


class JobSubject(Subject):
    """A real training job, or the compression of a real model; only in phases that are the engine's alone, a sleep."""

    def tell(self) -> None:
        patiently(self._submit, taken=lambda _: None)
        eventually("the job to end", self._ended, seconds=ENDS_SECONDS)

    def _submit(self) -> Job | None:
        if self.case.subject == TRAINING and self.case.phase in ENGINE_PHASES:
            return self.client.jobs.sleep(self.home.project_id, self.name, seconds=SLEEP_SECONDS, max_attempts=5)
        if self.case.subject == TRAINING:
            return self.client.training_jobs.create(
                self.home.project_id,
                self.name,
                dataset_version_id=self.home.dataset_version_id,
                model_name=self.name,
                hyperparameters=TINY_TRAINING,
                max_attempts=5,
            )
        return self.client.compression_jobs.create(
            self.home.project_id,
            self.name,
            model_version_id=self.home.model_version_ids[0],
            model_name=self.name,
            parameters=LENIENT,
            max_attempts=5,
        )

    def _ended(self) -> bool:
        return self.rows.one("SELECT status FROM jobs WHERE name = %s", self.name) in FINAL

    def tags(self, rows: Rows) -> Sequence[str]:
        return [tag for (tag,) in rows.all(JOB_TAGS, self.name, self.name)]
