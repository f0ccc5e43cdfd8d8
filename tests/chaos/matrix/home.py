"""A running platform with data, two models and a steady endpoint, on which cases run one after the other."""

import tempfile
import time
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from modelyard.images import write_archive
from modelyard.pilot import tensor
from tests.chaos.matrix import evidence
from tests.chaos.matrix.bill import faults_of_all
from tests.chaos.matrix.cases import CONTROL_PLANE, DISK, ENDPOINT, HOLD_SECONDS, ON_INSTANCE, Case
from tests.chaos.matrix.checks import check_bill, check_endpoint, check_job, check_no_process, check_nothing_left
from tests.chaos.matrix.endpoints import CALM_ANSWERS, EndpointSubject, check_calls
from tests.chaos.matrix.load import Load, Tally
from tests.chaos.matrix.patience import Red, eventually, must
from tests.chaos.matrix.phases import look_for, where
from tests.chaos.matrix.rows import Rows
from tests.chaos.matrix.strikes import STRIKES
from tests.chaos.matrix.subjects import LENIENT, TINY_TRAINING, JobSubject, Subject
from tests.chaos.matrix.targets import find
from tests.fixtures.digits import SIDE, digits
from tests.fixtures.disks import can_mount
from tests.fixtures.platform import RHYTHM, RunningPlatform, new_running_platform

STEADY = "steady"
IMAGES, SPLITS = 300, {"train": 200, "validation": 60, "test": 40}
LOOK_SECONDS = 0.004
PHASE_SECONDS = 120.0
LONGEST_GAP_SECONDS = 8.0
"""Between two answers of an endpoint whose control plane suffers, on a machine that several homes share."""
STEADY_TAGS = """
    SELECT tag FROM replicas JOIN instances ON instances.id = replicas.instance_id
    JOIN endpoints ON endpoints.id = endpoint_id
    WHERE endpoints.name = %s AND replicas.ended_at IS NULL AND instances.drain_requested_at IS NULL
"""


@dataclass(frozen=True)
class Outcome:
    """Of one case. `struck`: the status the subject had when the fault struck; `problem` is empty when green."""

    case: Case
    seconds: float
    struck: str
    problem: str


class Home:
    """`open` it, `run` cases, `close` it."""

    def __init__(self, evidence_folder: Path) -> None:
        self._evidence = evidence_folder
        self._numbers = count(1)
        self.platform: RunningPlatform = new_running_platform(RHYTHM, disks=can_mount())
        self.api_key = self.project_id = self.dataset_version_id = ""
        self.model_version_ids: list[str] = []
        self.entry: dict[str, Any] = {}
        self.running: Case | None = None
        """The last case that was begun here."""

    # --- before and after ---------------------------------------------------------------------------

    def open(self) -> None:
        """Boot, bring data, train a model, compress it, serve both."""
        self.platform.up()
        self.api_key = self.platform.owner["api_key"]
        self.rows = Rows(self.platform)
        client = self.platform.client()
        self.project_id = client.projects.ensure("matrix").id
        self.dataset_version_id = self._bring_data()
        trained = client.training_jobs.create(
            self.project_id,
            "first",
            dataset_version_id=self.dataset_version_id,
            model_name="first",
            hyperparameters=TINY_TRAINING,
        )
        first: str = client.jobs.wait(trained.id, timeout_seconds=180).output["model_version_id"]
        compressed = client.compression_jobs.create(
            self.project_id, "second", model_version_id=first, parameters=LENIENT
        )
        second: str = client.jobs.wait(compressed.id, timeout_seconds=180).output["model_version_id"]
        self.model_version_ids = [first, second]
        self.entry = tensor(client.models.version(first).signature, bytes(range(0, 4 * SIDE * SIDE, 4)))
        variants = [{"name": "only", "model_version_id": first, "weight": 1}]
        client.endpoints.wait(client.endpoints.create(self.project_id, STEADY, variants=variants).id)
        self.load = Load(self.platform.gateway_url, self.api_key, STEADY, self.entry)

    def _bring_data(self) -> str:
        client = self.platform.client()
        dataset = client.datasets.create(self.project_id, "digits")
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "digits.zip"
            write_archive(archive, islice(digits(), IMAGES))
            client.datasets.upload(dataset.id, archive)
        return client.datasets.freeze(dataset.id, splits=SPLITS, seed=3).id

    def close(self) -> str:
        """End everything; returns what is wrong with the whole bill, or nothing."""
        self.load.end()
        client = self.platform.client()
        steady = next(each.id for each in client.endpoints.list() if each.name == STEADY)
        client.endpoints.delete(steady)
        try:
            check_nothing_left(self.platform, self.rows, set)
            unrated = "SELECT count(*) FROM usage_records WHERE rated_at IS NULL"
            eventually("all usage to be rated", lambda: not self.rows.one(unrated))
        except Red as red:
            return str(red)
        return "; ".join(faults_of_all(self.platform))

    def discard(self) -> None:
        """Stop every process and remove the home."""
        if hasattr(self, "load"):
            self.load.end()
        if hasattr(self, "rows"):
            self.rows.close()
        self.platform.discard()

    # --- one case -----------------------------------------------------------------------------------

    def run(self, case: Case) -> Outcome:
        """Strike, and judge. A red case leaves its evidence, and a home that should be discarded."""
        began = time.monotonic()
        self.running = case
        name = f"{case.name}-{next(self._numbers)}"
        subject: Subject = (EndpointSubject if case.subject == ENDPOINT else JobSubject)(self, case, name)
        struck = problem = ""
        try:
            self._settle()
            steady = self.load.resume()
            struck = self._strike(case, subject)
            subject.finish()
            self._recovered(steady)
            self._check(case, subject, steady)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong makes the case red, and the others go on
            problem = str(error) if isinstance(error, Red) else f"{type(error).__name__}: {error}"
            tallies = {STEADY: self.load.tally, "own": getattr(subject, "tally", None)}
            evidence.keep(self._evidence / case.name, self.platform, name, problem, tallies)
        return Outcome(case, time.monotonic() - began, struck, problem)

    def _settle(self) -> None:
        """Every service runs, and the steady endpoint answers."""
        for service in (*CONTROL_PLANE, "gateway"):
            find(self.platform, service, [])
        eventually("the API", self.platform.answers)
        tally = self.load.resume()
        eventually("the steady endpoint to answer", lambda: tally.answered >= CALM_ANSWERS)
        self.load.pause()
        check_calls(self.rows, STEADY, self.load.whole())

    def _strike(self, case: Case, subject: Subject) -> str:
        """Wait for the phase, strike, hold, undo. Returns the status that was struck."""
        look = look_for(self.platform, self.rows, case.subject, case.phase, subject.name)
        subject.begin()
        until = time.monotonic() + PHASE_SECONDS
        while not look():
            must(not subject.over.is_set() or look(), f"the phase '{case.phase}' was never seen")
            must(time.monotonic() < until, f"waited {PHASE_SECONDS:.0f} s for the phase '{case.phase}'")
            time.sleep(LOOK_SECONDS)
        tags = [*self.steady_tags(), *subject.tags(self.rows)]
        if case.process in ON_INSTANCE:
            tags = self._tags_to_come(subject)
        struck = where(self.rows, case.subject, subject.name)
        with STRIKES[case.fault](self.platform, case.process, find(self.platform, case.process, tags)):
            time.sleep(HOLD_SECONDS[case.fault])
        subject.calm.set()
        return struck

    def _tags_to_come(self, subject: Subject) -> list[str]:
        return list(eventually("an instance of its own", lambda: subject.tags(self.rows) or None))

    def _recovered(self, steady: Tally) -> None:
        """The steady endpoint answers (again)."""
        already = steady.answered
        eventually("the steady endpoint to answer", lambda: steady.answered >= already + CALM_ANSWERS, seconds=90)

    def _check(self, case: Case, subject: Subject, steady: Tally) -> None:
        tags = subject.tags(self.rows)
        if isinstance(subject, EndpointSubject):
            check_endpoint(self.rows, subject.name)
        else:
            check_job(self.rows, case, subject.name)
        check_nothing_left(self.platform, self.rows, lambda: set(self.steady_tags()))
        check_no_process(self.platform, tags)
        check_bill(self.platform, self.rows, tags)
        self.load.pause()
        own = getattr(subject, "tally", None)
        for tally, endpoint in ((steady, STEADY), (own, subject.name)):
            if tally is not None and case.process in CONTROL_PLANE and case.fault != DISK:
                quiet = f"{tally.lost} lost, {tally.refused} refused, {tally.longest_gap_seconds:.1f} s silence"
                spared = tally.lost == tally.refused == 0 and tally.longest_gap_seconds < LONGEST_GAP_SECONDS
                must(spared, f"callers of {endpoint} noticed ({quiet}): {tally.told[:5]}")
        check_calls(self.rows, STEADY, self.load.whole())
        if own is not None:
            check_calls(self.rows, subject.name, own)

    def steady_tags(self) -> list[str]:
        """Machines that the steady endpoint is served from."""
        return [tag for (tag,) in self.rows.all(STEADY_TAGS, STEADY)]
