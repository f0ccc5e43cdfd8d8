"""Provider seconds = billed + named overhead, exactly, after a seeded storm; all sent again, the bill is the same.

Run `python -m benchmarks.chaos [--seed N …] [--jobs N]`; the last line is one JSON object. For each seed it starts a
platform of its own, trains a small model, brings an endpoint with two variants in service, submits sleep jobs (some
keep their instance warm) and calls the endpoint all the while. Meanwhile each of the ten processes (API, control
worker, beat, gateway, Postgres, Valkey, local provider, agent, job process, replica) is killed (-9) once and stopped
for seconds once, in an order drawn by the seed, and Valkey is emptied. A recorder between agents and API delivers a
quarter of all reports and usage segments twice, late and out of order. When every job has completed and every machine
has ended, `benchmarks.audit` compares the provider's log, what the clients counted, the prices and the invoice with
the rows; then all that was ever reported is sent again, shuffled. Exit 1 unless nothing is off, the bill the same.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import psutil
import redis
from sqlalchemy import Connection

from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.folders import runtime_folder
from benchmarks.audit import Audit, Told, audit
from benchmarks.books import read_books
from benchmarks.recorder import Recorder
from modelyard.client import Client
from modelyard.errors import ApiError, ConnectionFailed
from modelyard.images import write_archive
from modelyard.inference import InferenceClient
from modelyard.pilot import tensor
from modelyard.types import Job, ModelVersion
from tests.chaos.faults import stopped
from tests.fixtures.digits import SIDE, SPLITS, digits
from tests.fixtures.platform import RHYTHM, RunningPlatform, new_running_platform, wait_for

JOB_SECONDS = 6.0
KEEP_ALIVE_SECONDS = 8
STOPPED_SECONDS = (1.0, 3.0)
PAUSE_SECONDS = (0.5, 1.5)
STORM_SECONDS = 90.0
MAX_ATTEMPTS = 20
SERVICES = ("api", "beat", "gateway", "grpc", "localhost", "postgres", "valkey", "worker")
ON_INSTANCES = {"agent": "worker.agent", "job": "worker.sleeping", "replica": "worker.serving.replica"}


class Storm:
    """Faults, each once, in an order drawn by a seeded generator."""

    def __init__(self, platform: RunningPlatform, seed: int) -> None:
        self._platform = platform
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        victims = [*SERVICES, *ON_INSTANCES]
        self.left = [(fault, victim) for fault in ("kill", "stop") for victim in victims] + [("flush", "valkey")]
        self._random.shuffle(self.left)
        self.told: list[str] = []

    def blow(self) -> None:
        """The next fault and a pause; one whose victim does not run now comes last."""
        fault, victim = self.left.pop(0)
        strike = {"kill": self._kill, "stop": self._stop, "flush": self._flush}[fault]
        if strike(victim):
            self.told.append(f"{fault} {victim}")
        else:
            self.left.append((fault, victim))
        time.sleep(self._random.uniform(*PAUSE_SECONDS))

    def _kill(self, victim: str) -> bool:
        found = self._find(victim)
        if found is not None:
            found.kill()
        return found is not None

    def _stop(self, victim: str) -> bool:
        found = self._find(victim)
        if found is None:
            return False
        with stopped(found):
            time.sleep(self._random.uniform(*STOPPED_SECONDS))
        return True

    def _find(self, victim: str) -> psutil.Process | None:
        """A process of this name; None while it is being started."""
        try:
            if victim in SERVICES:
                return self._platform.child(victim)
            found = self._platform.on_instances(ON_INSTANCES[victim])
            innermost = [one for one in found if not any(other.ppid() == one.pid for other in found)]
        except (AssertionError, psutil.NoSuchProcess):
            return None
        return self._random.choice(sorted(innermost, key=lambda one: one.pid)) if innermost else None

    def _flush(self, _: str) -> bool:
        server = EmbeddedValkey(self._platform.home, runtime_folder(self._platform.home))
        try:
            with redis.Redis.from_url(server.url()) as connection:
                connection.flushall()
        except redis.RedisError:
            return False
        return True


class Callers:
    """A client that calls an endpoint as long as the `with` lasts, and counts how it went."""

    def __init__(self, platform: RunningPlatform, name: str, version: ModelVersion) -> None:
        self._gateway_url, self._api_key = platform.gateway_url, platform.owner["api_key"]
        self._name = name
        self._input = tensor(version.signature, bytes(range(0, 4 * SIDE * SIDE, 4)))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="callers", daemon=True)
        self.answered = self.refused = self.unknown = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            with InferenceClient(self._gateway_url, self._api_key) as inference:
                self._call(inference)

    def _call(self, inference: InferenceClient) -> None:
        """Some calls over one connection, until it breaks."""
        for _ in range(20):
            try:
                inference.infer(self._name, **self._input)
                self.answered += 1
            except ApiError:
                self.refused += 1
            except ConnectionFailed:
                # It may have been answered, and the answer lost.
                self.unknown += 1
                return
            time.sleep(0.01)


@dataclass
class Outcome:
    """What one seed did."""

    faults: list[str]
    left: list[str]
    completed: bool
    told: dict[str, Told]
    refused: int
    audit: Audit = field(default_factory=Audit)
    replay: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether nothing is off."""
        return not self.audit.faults and not self.left and self.completed and bool(self.replay.get("identical"))


def make_version(client: Client, project_id: str) -> ModelVersion:
    """A small model of the digits."""
    dataset = client.datasets.create(project_id, "digits")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "digits.zip"
        write_archive(archive, digits())
        client.datasets.upload(dataset.id, archive, part_size_bytes=1 << 20)
    frozen = client.datasets.freeze(dataset.id, splits=SPLITS)
    job = client.training_jobs.create(
        project_id, "model", dataset_version_id=frozen.id, model_name="model",
        hyperparameters={"epochs": 1, "width": 8},
    )  # fmt: skip
    ended = client.jobs.wait(job.id, timeout_seconds=120)
    return client.models.version(ended.output["model_version_id"])


def blow(platform: RunningPlatform, seed: int, jobs: int) -> Outcome:
    """Work, calls, and the storm over them, until everything has ended and is charged."""
    client = platform.client()
    project_id = client.projects.create("storm").id
    version = make_version(client, project_id)
    variants = [{"name": name, "model_version_id": version.id, "weight": 50} for name in ("blue", "green")]
    endpoint = client.endpoints.create(project_id, "stormy", variants=variants)
    client.endpoints.wait(endpoint.id, timeout_seconds=90)
    storm = Storm(platform, seed)
    with Callers(platform, "stormy", version) as callers:
        numbers = count()

        def nap() -> str:
            # A name of its own each time: a try whose answer was lost may have made its job.
            return _nap(client, project_id, next(numbers)).id

        ids = [nap() for _ in range(jobs)]
        until = time.monotonic() + STORM_SECONDS
        while storm.left and time.monotonic() < until:
            if not platform.on_instances(ON_INSTANCES["job"]) and any(victim == "job" for _, victim in storm.left):
                ids.append(_patiently(nap))
            storm.blow()
        ended = [_patiently(partial(client.jobs.wait, one, timeout_seconds=120)) for one in ids]
    told = {endpoint.id: Told(callers.answered, callers.unknown)}
    _patiently(lambda: client.endpoints.delete(endpoint.id))
    wait_for("every machine to be gone", lambda: _all_gone(platform), seconds=120)
    wait_for("all to be charged", lambda: all(each["rated_at"] for each in client.costs.usage()), seconds=60)
    left = [" ".join(one) for one in storm.left]
    return Outcome(storm.told, left, all(job.status == "completed" for job in ended), told, callers.refused)


def _nap(client: Client, project_id: str, number: int) -> Job:
    keep = KEEP_ALIVE_SECONDS * (number % 2)
    options: dict[str, Any] = {"max_attempts": MAX_ATTEMPTS, "keep_alive_seconds": keep}
    return client.jobs.sleep(project_id, f"nap-{number}", seconds=JOB_SECONDS, **options)


def _patiently(call: Callable[[], Any], seconds: float = 60.0) -> Any:  # noqa: ANN401 - what the call returns
    """The platform may be on its way back from the last fault."""
    until = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (ApiError, ConnectionFailed):
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


def _all_gone(platform: RunningPlatform) -> bool:
    with platform.database("operator").engine.connect() as connection:
        left = connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM instances WHERE status <> 'terminated')"
            " + (SELECT count(*) FROM endpoints WHERE status <> 'deleted')"
        )
        return bool(left.scalar_one() == 0)


def bill(connection: Connection, client: Client) -> tuple[Any, ...]:
    """Everything that a bill is made of: each usage record, each charge, and the invoice of the month."""
    rows = [
        tuple(connection.exec_driver_sql(f"SELECT to_jsonb(each)::text FROM {table} AS each ORDER BY 1").scalars())  # noqa: S608 - two literals
        for table in ("usage_records", "charges", "variant_traffic")
    ]
    return (*rows, json.dumps(invoice(client), sort_keys=True))


def invoice(client: Client) -> dict[str, Any]:
    """This month's."""
    found: dict[str, Any] = client.transport.get(f"/api/v1/invoices/{datetime.now(UTC):%Y-%m}", dict[str, Any])
    return found


def replay(platform: RunningPlatform, recorder: Recorder) -> dict[str, Any]:
    """Send everything again that agents and gateways ever sent, shuffled: is the bill the same?

    Tokens of machines that have ended are dead; for the replay they live once more, so that what is sent reaches
    those who must refuse it.
    """
    controller = platform.database("controller").engine
    client = platform.client()
    with controller.connect() as connection:
        before = bill(connection, client)
    with controller.begin() as connection:
        ended = connection.exec_driver_sql("SELECT id, terminated_at FROM instances").all()
        connection.exec_driver_sql("UPDATE instances SET terminated_at = NULL")
    answers = recorder.replay()
    time.sleep(2.0)  # a controller's tick, were there anything to do
    with controller.begin() as connection:
        for instance_id, terminated_at in ended:
            connection.exec_driver_sql(
                "UPDATE instances SET terminated_at = %s, due_at = NULL WHERE id = %s", (terminated_at, instance_id)
            )
    with controller.connect() as connection:
        after = bill(connection, client)
    return {
        "records": len(before[0]),
        "sent": len(recorder.sent),
        "repeated_meanwhile": recorder.repeated,
        "answers": {str(status): count for status, count in sorted(answers.items())},
        "identical": before == after,
    }


def run(platform: RunningPlatform, seed: int, jobs: int) -> Outcome:
    """One seed on a platform that is not up yet; it stays up."""
    with Recorder(platform.api_port, seed) as recorder:
        platform.rhythm = {**platform.rhythm, "MODELYARD_API__INTERNAL_URL": recorder.url}
        platform.up()
        outcome = blow(platform, seed, jobs)
        with platform.database("operator").engine.connect() as connection:
            books = read_books(platform.home / "localhost" / "log.jsonl", connection)
        outcome.audit = audit(books, told=outcome.told, invoice=invoice(platform.client()))
        outcome.replay = replay(platform, recorder)
    return outcome


def report(outcomes: dict[int, Outcome]) -> dict[str, Any]:
    """The JSON line."""
    audits = [outcome.audit for outcome in outcomes.values()]
    value = sum(each.off_ms for each in audits)
    provider = sum(each.provider_ms for each in audits)
    billed = sum(each.billed_ms for each in audits)
    return {
        "name": "chaos",
        "value": value,
        "unit": "ms off",
        "against": "the provider's own log",
        "ratio": round(billed / provider, 4),
        "goal": 0,
        "stretch": 0,
        "met": all(outcome.met for outcome in outcomes.values()),
        "machines": sum(each.machines for each in audits),
        "provider_ms": provider,
        "billed_ms": billed,
        "overhead_ms": {name: sum(each.overhead_ms[name] for each in audits) for name in audits[0].overhead_ms},
        "calls": sum(each.calls for each in audits),
        "charges": sum(each.charges for each in audits),
        "seeds": {
            str(seed): {
                "faults": outcome.faults,
                "not_struck": outcome.left,
                "completed": outcome.completed,
                "told": {name: [told.answered, told.unknown] for name, told in outcome.told.items()},
                "refused": outcome.refused,
                "replay": outcome.replay,
            }
            for seed, outcome in outcomes.items()
        },
    }


def main() -> int:
    """Print the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--jobs", type=int, default=4)
    chosen = parser.parse_args()
    outcomes: dict[int, Outcome] = {}
    for seed in chosen.seed:
        platform = new_running_platform(RHYTHM)
        try:
            outcomes[seed] = run(platform, seed, chosen.jobs)
        finally:
            platform.discard()
        for fault in outcomes[seed].audit.faults:
            print(f"seed {seed}: {fault}", file=sys.stderr)
    result = report(outcomes)
    print(json.dumps(result))
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
