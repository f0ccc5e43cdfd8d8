"""Metric points/s through HTTP, durable when answered and readable afterwards, against MLflow's `log_batch`.

Run `python -m benchmarks.metric_ingest [--short]`; the last line is one JSON object. Both sides store in the same
durable PostgreSQL (fsync on, synchronous commit), each in a database of its own, and take turns in rounds; the median
of the rounds' ratios counts. Each side has WRITERS client threads on keep-alive connections, each writing a job (a
run) of its own; clients make their JSON while the clock runs.

Ours: the real API process under the agents' own route, `POST /agent/v1/sync`, with everything a report passes:
instance token, row-level security, assignment and epoch, order by sequence number, heartbeat. A report holds what an
agent gathers in the second between two reports, at the rate that an agent lets a job keep up
(`worker.agent.reporter`): 5,000 points, here of five series. The same with 1,000 points per report is told as well.

MLflow: `mlflow server` with its default number of workers and no authentication, `POST runs/log-batch` with the
1,000 metrics it takes at most, of five keys too. It is given what it needs (its own environment, see `peers`).

Afterwards every point of both sides is read back over HTTP and compared; one that differs ends the benchmark.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import psycopg

from backend.core import wire
from benchmarks.peers import peer_environment
from benchmarks.stack import BenchAttempt, BenchTenant, Site, Stack
from tests.fixtures.platform import free_ports, wait_for
from worker.agent.reporter import POINTS_PER_SECOND

WRITERS = 4
NAMES = ("train/loss", "train/accuracy", "validation/loss", "learning_rate", "throughput")
BATCH_LIMIT = 1000
"""Metrics that one `log_batch` may hold."""
GOAL, STRETCH = 10.0, 50.0
BEGAN_AT = 1_700_000_000.0


@dataclass
class Column:
    """What a writer said of one series."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


class Writer:
    """One client: says points, remembers them, and reads them back."""

    def __init__(self, port: int, headers: dict[str, str], seed: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = headers | {"Content-Type": "application/json"}
        self._random = Random(seed)  # noqa: S311 - points, no secrets
        self._step = 0
        self.said = {name: Column() for name in NAMES}

    def points(self, count: int) -> dict[str, Column]:
        """The next `count` points, evenly over the series."""
        fresh: dict[str, Column] = {}
        each = count // len(NAMES)
        for name in NAMES:
            steps = list(range(self._step, self._step + each))
            values = [self._random.random() for _ in steps]
            # MLflow's clock has milliseconds.
            fresh[name] = Column(steps, values, [BEGAN_AT + step / 1000 for step in steps])
        self._step += each
        return fresh

    def remember(self, fresh: dict[str, Column]) -> None:
        """They were acknowledged."""
        for name, column in fresh.items():
            self.said[name].steps += column.steps
            self.said[name].values += column.values
            self.said[name].times += column.times

    def post(self, path: str, body: bytes) -> bytes:
        """Raises RuntimeError unless answered 200."""
        self._connection.request("POST", path, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:500]!r}")
        return content

    def hang_up(self) -> None:
        """Connect anew at the next request: servers close connections that idled while others had their turn."""
        self._connection.close()

    def write(self, count: int) -> None:
        """Say `count` points, in one request."""
        raise NotImplementedError

    def read(self) -> dict[str, Column]:
        """Every point, as the server has it."""
        raise NotImplementedError


class OurWriter(Writer):
    """An agent's reports."""

    def __init__(self, url: str, tenant: BenchTenant, attempt: BenchAttempt, seed: int) -> None:
        super().__init__(int(url.rsplit(":", 1)[1]), {"Authorization": f"Bearer {attempt.token}"}, seed)
        self._url, self._tenant, self._attempt = url, tenant, attempt
        self._seq = 0

    def write(self, count: int) -> None:
        """One report."""
        fresh = self.points(count)
        self._seq += 1
        series = [
            wire.MetricSeries(name=name, steps=one.steps, values=one.values, times=one.times)
            for name, one in fresh.items()
        ]
        report = wire.Report(
            assignment_id=str(self._attempt.assignment_id),
            epoch=1,
            seq=self._seq,
            elapsed_seconds=float(self._seq),
            body=wire.Metrics(series=series),
        )
        beat = wire.RunningAssignment(
            assignment_id=str(self._attempt.assignment_id), epoch=1, elapsed_seconds=float(self._seq)
        )
        answer = self.post("/agent/v1/sync", msgspec.json.encode(wire.SyncRequest(reports=[report], running=[beat])))
        accepted = msgspec.json.decode(answer, type=wire.SyncReply).accepted
        if accepted != {str(self._attempt.assignment_id): self._seq}:
            raise RuntimeError(f"report {self._seq} was not accepted: {accepted}")
        self.remember(fresh)

    def read(self) -> dict[str, Column]:
        """Over the public API."""
        answer = httpx2.get(
            f"{self._url}/api/v1/jobs/{self._attempt.job_id}/metrics",
            headers=self._tenant.headers,
            timeout=120,
            trust_env=False,
        )
        answer.raise_for_status()
        return {name: Column(**columns) for name, columns in answer.json()["series"].items()}


class MlflowWriter(Writer):
    """A run that logs batches."""

    def __init__(self, port: int, experiment: str, seed: int) -> None:
        super().__init__(port, {}, seed)
        body = {"experiment_id": experiment, "start_time": int(BEGAN_AT * 1000)}
        made = json.loads(self.post("/api/2.0/mlflow/runs/create", json.dumps(body).encode()))
        self._run_id = made["run"]["info"]["run_id"]
        self._url = f"http://127.0.0.1:{port}"

    def write(self, count: int) -> None:
        """One `log_batch`."""
        fresh = self.points(count)
        metrics = [
            {"key": name, "value": value, "timestamp": round(time * 1000), "step": step}
            for name, one in fresh.items()
            for step, value, time in zip(one.steps, one.values, one.times, strict=True)
        ]
        self.post("/api/2.0/mlflow/runs/log-batch", msgspec.json.encode({"run_id": self._run_id, "metrics": metrics}))
        self.remember(fresh)

    def read(self) -> dict[str, Column]:
        """The history of each key, page by page."""
        return {name: self._history(name) for name in NAMES}

    def _history(self, name: str) -> Column:
        found: list[tuple[int, float, float]] = []
        query: dict[str, str | int] = {"run_id": self._run_id, "metric_key": name, "max_results": 25000}
        while True:
            answer = httpx2.get(
                f"{self._url}/api/2.0/mlflow/metrics/get-history", params=query, timeout=120, trust_env=False
            )
            answer.raise_for_status()
            page = answer.json()
            found += [(int(m.get("step", 0)), float(m["value"]), int(m["timestamp"]) / 1000) for m in page["metrics"]]
            token = page.get("next_page_token")
            if not token:
                break
            query["page_token"] = token
        found.sort()
        return Column([each[0] for each in found], [each[1] for each in found], [each[2] for each in found])


@contextmanager
def mlflow_server(stack: Stack, workers: int | None) -> Iterator[int]:
    """A tracking server on the same PostgreSQL; its port."""
    folder = peer_environment("mlflow", "mlflow", "psycopg2-binary")
    with psycopg.connect(stack.postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")
    host = quote(str(stack.postgres.socket_folder), safe="")
    store = f"postgresql+psycopg2://postgres:{quote(stack.postgres.password)}@/mlflow?host={host}&port=5432"
    (port,) = free_ports(1)
    command = [str(folder / "mlflow"), "server", "--backend-store-uri", store, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--default-artifact-root", str(stack.base / "mlflow")]
    command += [] if workers is None else ["--workers", str(workers)]
    log = stack.base / "mlflow.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=stack.base, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for("MLflow", lambda: _healthy(process, port, log.read_text), seconds=180)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(process: "subprocess.Popen[bytes]", port: int, said: Callable[[], str]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"MLflow ended: {said()[-2000:]}")
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def rate(writers: Sequence[Writer], count: int, seconds: float) -> float:
    """Points/s of all writers together, `count` per request."""
    written = [0] * len(writers)
    failures: list[BaseException] = []
    for writer in writers:
        writer.hang_up()
    began = time.perf_counter()

    def write(number: int) -> None:
        try:
            while time.perf_counter() - began < seconds:
                writers[number].write(count)
                written[number] += count
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(written) / (time.perf_counter() - began)


def check(writers: Sequence[Writer]) -> int:
    """Read every point back; how many there are. Raises RuntimeError where one differs."""
    points = 0
    for writer in writers:
        found = writer.read()
        for name, said in writer.said.items():
            if found.get(name) != said:
                raise RuntimeError(f"{name} reads otherwise than it was written")
            points += len(said.steps)
    return points


@dataclass(frozen=True)
class Round:
    """Points/s: ours, ours in batches of MLflow's size, MLflow's."""

    ours: float
    ours_in_small: float
    mlflow: float


def run(*, rounds: int, seconds: float, workers: int | None) -> tuple[list[Round], int]:
    """All rounds, and how many points were read back and compared."""
    with Stack() as stack, mlflow_server(stack, workers) as port:
        site: Site = stack.site("ingest")
        tenant = site.tenant("acme")
        with site.api() as api:
            ours = [
                OurWriter(api.url, tenant, site.running_attempt(tenant, f"job-{number}"), number)
                for number in range(WRITERS)
            ]
            theirs = [MlflowWriter(port, "0", number) for number in range(WRITERS)]
            rate(ours, BATCH_LIMIT, seconds / 4)
            rate(theirs, BATCH_LIMIT, seconds / 4)
            found = []
            for _ in range(rounds):
                found.append(
                    Round(
                        rate(ours, POINTS_PER_SECOND, seconds),
                        rate(ours, BATCH_LIMIT, seconds),
                        rate(theirs, BATCH_LIMIT, seconds),
                    )
                )
                one = found[-1]
                print(
                    f"ours {one.ours:9.0f}/s, in 1,000s {one.ours_in_small:9.0f}/s, MLflow {one.mlflow:7.0f}/s",
                    flush=True,
                )
            return found, check([*ours, *theirs])


def line(found: Sequence[Round], checked: int) -> dict[str, Any]:
    """The result."""
    ratio = median(one.ours / one.mlflow for one in found)
    return {
        "name": "metric_ingest",
        "value": round(median(one.ours for one in found)),
        "unit": f"points/s, {POINTS_PER_SECOND} per report",
        "against": "MLflow log_batch of 1,000 over HTTP on the same PostgreSQL",
        "ratio": round(ratio, 1),
        "goal": GOAL,
        "stretch": STRETCH,
        "met": ratio >= GOAL,
        "mlflow": round(median(one.mlflow for one in found)),
        "ratio_in_batches_of_1000": round(median(one.ours_in_small / one.mlflow for one in found), 1),
        "points_read_back_and_compared": checked,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rounds and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it runs, measures little")
    short = parser.parse_args(arguments).short
    found, checked = run(rounds=1 if short else 5, seconds=0.5 if short else 5.0, workers=1 if short else None)
    result = line(found, checked)
    print(json.dumps(result))
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
