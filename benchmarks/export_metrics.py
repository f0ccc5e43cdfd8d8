"""Export of 100,000 metric points of a job: seconds and memory of the API, and what following the same job costs.

Run `python -m benchmarks.export_metrics [--short]`; the last line is a JSON list. A real API process over durable
PostgreSQL; the points (five series, in reports of 5,000) lie in the store as agents leave them.

- *export*: seconds of `GET /jobs/{id}/metrics/export` as CSV and as JSON lines, medians; every line is compared with
  what was stored. Against `psql`-like COPY of the same points out of the same database, formatted by PostgreSQL.
- *memory*: by how much an export of ten times the points raises the API's peak resident set over one of these.
- *follow*: one poll of `GET /jobs/{id}/metrics?after_step=` that finds one new report, against reading everything.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any
from uuid import UUID

import httpx2
import psycopg

from benchmarks.stack import ApiProcess, BenchTenant, Site, Stack

POINTS = 100_000
NAMES = ("learning_rate", "throughput", "train/accuracy", "train/loss", "validation/loss")
CHUNK = 1000
"""Points of one series in one report."""
GOAL_RATIO, STRETCH_RATIO = 6.0, 3.0
GOAL_MEMORY, STRETCH_MEMORY = 32.0, 16.0
GOAL_FOLLOW, STRETCH_FOLLOW = 5.0, 10.0
FILL = """
    INSERT INTO metric_chunks (id, organization_id, job_id, attempt_id, epoch, seq, name, steps, values, times)
    SELECT uuidv7(), :organization, :job, (SELECT id FROM attempts WHERE job_id = :job), 1, seq, name,
        array_agg(step), array_agg(sin(step) * 1000), array_agg(1.7e9 + step / 10.0)
    FROM unnest(CAST(:names AS text[])) AS name, generate_series(1, CAST(:chunks AS int)) AS seq,
        generate_series((seq - 1) * CAST(:size AS bigint), seq * CAST(:size AS bigint) - 1) AS step
    GROUP BY name, seq ORDER BY seq, name
"""
COPIED = """
    COPY (SELECT name, step, value, time FROM metric_chunks, unnest(steps, values, times) AS point(step, value, time)
          WHERE job_id = '{job}' ORDER BY name, step) TO STDOUT WITH (FORMAT csv, HEADER)
"""


def fill(site: Site, tenant: BenchTenant, name: str, points: int) -> UUID:
    """A job with so many points."""
    job_id = site.running_attempt(tenant, name).job_id
    chunks = points // CHUNK // len(NAMES)
    organization = tenant.organization_id
    site.fill(FILL, organization=organization, job=job_id, names=list(NAMES), chunks=chunks, size=CHUNK)
    return job_id


def copied(stack: Stack, site: Site, job_id: UUID) -> tuple[float, list[list[str]]]:
    """Seconds of PostgreSQL's own COPY, and its rows."""
    with psycopg.connect(stack.postgres.superuser_dsn(f"modelyard_{site.name}")) as connection:
        began = time.perf_counter()
        with connection.cursor().copy(COPIED.format(job=job_id)) as copy:
            content = b"".join(bytes(piece) for piece in copy)
        return time.perf_counter() - began, [line.split(",") for line in content.decode().splitlines()[1:]]


def client(api: ApiProcess, tenant: BenchTenant) -> httpx2.Client:
    """Who asks."""
    return httpx2.Client(base_url=api.url, headers=tenant.headers, timeout=300, trust_env=False)


class Reader:
    """Reads a job's metrics over HTTP."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def export(self, job_id: UUID, kind: str) -> tuple[float, bytes]:
        """Seconds, and the file."""
        began = time.perf_counter()
        answer = self._http.get(f"/api/v1/jobs/{job_id}/metrics/export", params={"format": kind})
        answer.raise_for_status()
        return time.perf_counter() - began, answer.content

    def drain(self, job_id: UUID) -> int:
        """Read an export and keep nothing; its bytes."""
        with self._http.stream("GET", f"/api/v1/jobs/{job_id}/metrics/export") as answer:
            answer.raise_for_status()
            return sum(len(piece) for piece in answer.iter_bytes())

    def poll(self, job_id: UUID, after_step: int | None) -> tuple[float, int]:
        """Seconds, and how many points there were."""
        query = {} if after_step is None else {"after_step": after_step}
        began = time.perf_counter()
        answer = self._http.get(f"/api/v1/jobs/{job_id}/metrics", params=query)
        answer.raise_for_status()
        taken = time.perf_counter() - began
        return taken, sum(len(each["steps"]) for each in answer.json()["series"].values())


def check(csv: bytes, jsonl: bytes, expected: list[list[str]]) -> None:
    """Both files hold exactly the stored points. Raises RuntimeError."""
    rows = [line.split(",") for line in csv.decode().splitlines()[1:]]
    objects = [json.loads(line) for line in jsonl.splitlines()]
    stored = [(row[0], int(row[1]), float(row[2]), float(row[3])) for row in expected]
    if [(row[0], int(row[1]), float(row[2]), float(row[3])) for row in rows] != stored:
        raise RuntimeError("the CSV export is not what is stored")
    if [(one["name"], one["step"], one["value"], one["time"]) for one in objects] != stored:
        raise RuntimeError("the JSON lines are not what is stored")


def run(points: int, rounds: int) -> list[dict[str, Any]]:
    """The results."""
    with Stack() as stack:
        site = stack.site("export")
        tenant = site.tenant("acme")
        job_id, long_id = fill(site, tenant, "measured", points), fill(site, tenant, "long", points * 10)
        site.settle("metric_chunks")
        with site.api() as api, client(api, tenant) as http:
            reader = Reader(http)
            check(reader.export(job_id, "csv")[1], reader.export(job_id, "jsonl")[1], copied(stack, site, job_id)[1])
            found: dict[str, list[float]] = {"csv": [], "jsonl": [], "copy": [], "all": [], "new": []}
            newest = points // len(NAMES) - CHUNK - 1
            for _ in range(rounds):
                found["copy"].append(copied(stack, site, job_id)[0])
                found["csv"].append(reader.export(job_id, "csv")[0])
                found["jsonl"].append(reader.export(job_id, "jsonl")[0])
                for name, after, count in (("all", None, points), ("new", newest, CHUNK * len(NAMES))):
                    taken, seen = reader.poll(job_id, after)
                    assert seen == count, (name, seen, count)
                    found[name].append(taken)
            with api.memory_growth() as growth:
                reader.drain(long_id)
    return lines(points, found, growth[0] / 2**20)


def lines(points: int, found: dict[str, list[float]], growth_mib: float) -> list[dict[str, Any]]:
    """The results as JSON objects."""
    middle = {name: median(seconds) for name, seconds in found.items()}
    ratio = median(ours / theirs for ours, theirs in zip(found["csv"], found["copy"], strict=True))
    follow = median(whole / new for whole, new in zip(found["all"], found["new"], strict=True))
    return [
        {
            "name": "export_metrics",
            "value": round(middle["csv"], 3),
            "unit": f"s for {points:,} points as CSV over HTTP",
            "against": "PostgreSQL's own COPY of the same points",
            "ratio": round(ratio, 2),
            "goal": GOAL_RATIO,
            "stretch": STRETCH_RATIO,
            "met": ratio <= GOAL_RATIO,
            "jsonl_seconds": round(middle["jsonl"], 3),
            "copy_seconds": round(middle["copy"], 3),
        },
        {
            "name": "export_metrics_memory",
            "value": round(growth_mib, 1),
            "unit": f"MiB above what smaller exports took, for {points * 10:,} points",
            "against": f"a limit of {GOAL_MEMORY} MiB",
            "ratio": round(growth_mib / GOAL_MEMORY, 2),
            "goal": GOAL_MEMORY,
            "stretch": STRETCH_MEMORY,
            "met": growth_mib <= GOAL_MEMORY,
        },
        {
            "name": "follow_metrics",
            "value": round(middle["new"] * 1000, 1),
            "unit": f"ms for a poll that finds {CHUNK * len(NAMES):,} new points",
            "against": f"reading all {points:,} points",
            "ratio": round(follow, 2),
            "goal": GOAL_FOLLOW,
            "stretch": STRETCH_FOLLOW,
            "met": follow >= GOAL_FOLLOW,
        },
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it runs, measures little")
    short = parser.parse_args(arguments).short
    found = run(20_000, 1) if short else run(POINTS, 7)
    print(json.dumps(found))
    return 0 if all(one["met"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
