"""Provider seconds = billed + named overhead, exactly, after a seeded storm of kills; and a replay changes nothing.

Run `python -m benchmarks.chaos [--seed N] [--jobs N]`; the last line is one JSON object. It starts a platform of its
own, submits sleep jobs that write a checkpoint each second, and meanwhile kills (-9) the control worker, the API,
agents, job processes and Valkey, and empties Valkey. When every job has completed and every machine has ended,
`benchmarks.audit` compares the provider's log with the rows. Exit 1 unless 0 ms are off.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable

import psutil
import redis

from backend.platform.embedded_valkey import EmbeddedValkey
from backend.platform.folders import runtime_folder
from benchmarks.audit import audit_machines, replay
from modelyard.client import Client
from tests.chaos.story import machines_gone
from tests.fixtures.platform import RHYTHM, RunningPlatform, new_running_platform, wait_for

JOB_SECONDS = 6.0
PAUSE_SECONDS = (1.5, 4.0)
MAX_ATTEMPTS = 20


class Storm:
    """Faults, drawn by a seeded generator."""

    def __init__(self, platform: RunningPlatform, seed: int) -> None:
        self._platform = platform
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self.told: dict[str, int] = {}
        self._faults: dict[str, Callable[[], bool]] = {
            "worker": lambda: self._kill_child("worker"),
            "api": lambda: self._kill_child("api"),
            "valkey": lambda: self._kill_child("valkey"),
            "agent": lambda: self._kill_on_instance("worker.agent"),
            "job": lambda: self._kill_on_instance("worker.sleeping"),
            "flushall": self._flush,
        }

    def blow(self) -> None:
        """One fault, and a pause."""
        name = self._random.choice(sorted(self._faults))
        if self._faults[name]():
            self.told[name] = self.told.get(name, 0) + 1
        time.sleep(self._random.uniform(*PAUSE_SECONDS))

    def _kill_child(self, name: str) -> bool:
        try:
            self._platform.child(name).kill()
        except (AssertionError, psutil.NoSuchProcess):
            return False  # it is being started again
        return True

    def _kill_on_instance(self, module: str) -> bool:
        found = self._platform.on_instances(module)
        innermost = [one for one in found if not any(other.ppid() == one.pid for other in found)]
        if not innermost:
            return False
        self._random.choice(sorted(innermost, key=lambda process: process.pid)).kill()
        return True

    def _flush(self) -> bool:
        server = EmbeddedValkey(self._platform.home, runtime_folder(self._platform.home))
        try:
            with redis.Redis.from_url(server.url()) as connection:
                connection.flushall()
        except redis.RedisError:
            return False
        return True


def run(platform: RunningPlatform, seed: int, jobs: int) -> tuple[dict[str, int], bool]:
    """The storm. Returns the faults by name, and whether every job completed."""
    client = platform.client()
    project = client.projects.create("storm").id
    body = {"project_id": project, "max_attempts": MAX_ATTEMPTS, "parameters": {"seconds": JOB_SECONDS}}
    ids = [_submit(client, {**body, "name": f"nap-{number}"}) for number in range(jobs)]
    storm = Storm(platform, seed)
    until = time.monotonic() + 20 * jobs
    while time.monotonic() < until and not all(client.jobs.get(job_id).ended for job_id in ids):
        storm.blow()
    ended = [client.jobs.wait(job_id, timeout_seconds=120) for job_id in ids]
    wait_for("the machines to be gone", lambda: all(machines_gone(platform, job) for job in ended), seconds=120)
    wait_for("no instance to be left", lambda: not platform.on_instances("worker.agent"), seconds=120)
    wait_for("all to be rated", lambda: all(each["rated_at"] for each in client.costs.usage()), seconds=60)
    return storm.told, all(job.status == "completed" for job in ended)


def _submit(client: Client, body: dict[str, object]) -> str:
    found: dict[str, str] = client.transport.post("/api/v1/sleep-jobs", body, dict)
    return found["id"]


def main() -> int:
    """Print the JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=6)
    chosen = parser.parse_args()
    platform = new_running_platform(RHYTHM)
    try:
        platform.up()
        faults, completed = run(platform, chosen.seed, chosen.jobs)
        with platform.database("operator").engine.connect() as connection:
            audit = audit_machines(platform.home / "localhost" / "log.jsonl", connection)
        with platform.database("controller").engine.begin() as connection:
            replayed = replay(connection)
    finally:
        platform.discard()
    for fault in audit.faults:
        print(fault, file=sys.stderr)
    met = audit.off_ms == 0 and completed and replayed["identical"]
    result = {
        "name": "chaos",
        "value": audit.off_ms,
        "unit": "ms off",
        "against": "the provider's own log",
        "ratio": round(audit.billed_ms / audit.provider_ms, 4),
        "goal": 0,
        "stretch": 0,
        "met": met,
        "seed": chosen.seed,
        "jobs": chosen.jobs,
        "completed": completed,
        "faults": faults,
        "machines": audit.machines,
        "provider_ms": audit.provider_ms,
        "billed_ms": audit.billed_ms,
        "overhead_ms": audit.overhead_ms,
        "replay": replayed,
    }
    print(json.dumps(result))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
