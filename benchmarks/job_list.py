"""p99 of a filtered, tenant-scoped page of jobs with 1,000,000 jobs under row-level security, against 1,000.

Run `python -m benchmarks.job_list [--short]`; the last line is one JSON object. Two databases on one durable
PostgreSQL, each behind a real API process: one with a single tenant and 1,000 jobs, one with 1,000,000, of which nine
tenths are one tenant's and the rest those of a hundred others. Both are asked the same pages of 50 over HTTP, one
request each in turn, on one keep-alive connection each, so that whatever disturbs the machine disturbs both. The p99
over all questions counts; each question is told as well.

The questions: no filter, status, kind, project, a part of the name that many jobs have, status and kind together, and a
cursor to the middle of the list. Jobs are alike in size and share of each status and kind on both sides.

Told, not judged: a part of the name that no job has. Such a search looks at every name of the tenant: row-level
security forbids PostgreSQL an index on parts of text, since what compares them is not leakproof.
"""

import argparse
import http.client
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import text

from backend.core.pagination import encode_cursor
from benchmarks.load import percentile
from benchmarks.stack import SHAPE, ApiProcess, BenchTenant, Site, Stack

GOAL, STRETCH = 1.2, 1.05
BATCH = 100_000
OTHERS = 100
PAGE = 50
JOBS = """
    INSERT INTO jobs (id, organization_id, project_id, kind, name, parameters, inputs, output, instance_type, market,
        max_attempts, max_runtime_seconds, keep_alive_seconds, status, status_reason, progress, created_by, tags,
        created_at, started_at, ended_at, due_at)
    SELECT uuidv7(), :organization, :project, CASE WHEN n % 5 = 0 THEN 'compression' ELSE 'training' END,
        'digits-' || lpad(n::text, 7, '0'), '{"epochs": 10, "batch_size": 64, "learning_rate": 0.001}',
        '{"training": {"kind": "dataset_version", "id": "0190f7a6-0000-7000-8000-000000000000"}}', '{}', :shape,
        'on-demand', 3, 86400, 0, CASE WHEN n % 10 = 3 THEN 'failed' ELSE 'completed' END, 'completed',
        '{"step": 1000, "total_steps": 1000, "phase": "done"}', 'user:bench', '{"team": "vision"}',
        timestamptz '2026-01-01' + n * interval '1 second', timestamptz '2026-01-01' + n * interval '1 second',
        timestamptz '2026-01-02' + n * interval '1 second', NULL
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n
"""


@dataclass
class Side:
    """A database with its API, the tenant that asks, and the seconds of its answers by question."""

    site: Site
    tenant: BenchTenant
    jobs: int
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def connect(self, api: ApiProcess) -> None:
        """Where to ask."""
        self._connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=120)

    def hang_up(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, path: str) -> tuple[float, dict[str, Any]]:
        """Seconds, and the page. Raises RuntimeError unless answered 200."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self.tenant.headers)
        answer = self._connection.getresponse()
        content = answer.read()
        taken = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[:500]!r}")
        page: dict[str, Any] = json.loads(content)
        return taken, page

    def questions(self) -> dict[str, str]:
        """Paths by what they ask for."""
        asked: dict[str, dict[str, str]] = {
            "no filter": {},
            "status": {"status": "failed"},
            "kind": {"kind": "compression"},
            "project": {"project_id": str(self.tenant.project_id)},
            "part of the name": {"name": "IGITS"},
            "status and kind": {"status": "failed", "kind": "training"},
            "middle of the list": {"cursor": self._middle()},
        }
        return {name: f"/api/v1/jobs?{urlencode({'limit': str(PAGE)} | query)}" for name, query in asked.items()}

    def _middle(self) -> str:
        with self.site.controller.unit_of_work() as session:
            row = session.execute(
                text("SELECT created_at, id FROM jobs WHERE organization_id = :o AND name = :n"),
                {"o": self.tenant.organization_id, "n": f"digits-{self.jobs // 2:07}"},
            ).one()
        return encode_cursor([row.created_at, row.id])


def fill(site: Site, tenant: BenchTenant, count: int) -> None:
    """So many jobs, in batches."""
    for first in range(1, count + 1, BATCH):
        site.fill(
            JOBS,
            organization=tenant.organization_id,
            project=tenant.project_id,
            shape=SHAPE,
            first=first,
            last=min(first + BATCH - 1, count),
        )


def prepare(stack: Stack, name: str, *, own: int, others: int) -> Side:
    """A database in which one tenant has `own` jobs and a hundred others share `others`."""
    site = stack.site(name)
    tenant = site.tenant("acme")
    fill(site, tenant, own)
    for number in range(OTHERS if others else 0):
        fill(site, site.tenant(f"other-{number}"), others // OTHERS)
    site.settle("jobs")
    return Side(site, tenant, own)


def measure(sides: tuple[Side, Side], rounds: int) -> None:
    """Ask both sides every question, in turn, `rounds` times; the first tenth only warms."""
    asked = [side.questions() for side in sides]
    warm = max(1, rounds // 10)
    for turn in range(rounds + warm):
        for name in asked[0]:
            for side, paths in zip(sides, asked, strict=True):
                taken, page = side.ask(paths[name])
                if len(page["items"]) != PAGE:
                    raise RuntimeError(f"{name}: {len(page['items'])} jobs on the page")
                if turn >= warm:
                    side.seconds.setdefault(name, []).append(taken)


def ratio(sides: tuple[Side, Side], share: float, name: str | None = None) -> float:
    """A percentile with many jobs over the one with few; of one question, or of all together."""
    few, many = (
        [second for key, found in side.seconds.items() if name in (None, key) for second in found] for side in sides
    )
    return percentile(many, share) / percentile(few, share)


def run(*, few: int, many: int, rounds: int) -> tuple[tuple[Side, Side], tuple[float, float]]:
    """Both sides with their times, and the seconds of a search for a name that nobody has."""
    with Stack() as stack, ExitStack() as processes:
        sides = (
            prepare(stack, "few", own=few, others=0),
            prepare(stack, "many", own=many - many // 10, others=many // 10),
        )
        for side in sides:
            side.connect(processes.enter_context(side.site.api()))
            processes.callback(side.hang_up)
        measure(sides, rounds)
        absent = [min(side.ask("/api/v1/jobs?name=nobody-has-this")[0] for _ in range(3)) for side in sides]
        return sides, (absent[0], absent[1])


def line(sides: tuple[Side, Side], absent: tuple[float, float]) -> dict[str, Any]:
    """The result."""
    found = ratio(sides, 0.99)
    everything = [second for seconds in sides[1].seconds.values() for second in seconds]
    return {
        "name": "job_list",
        "value": round(percentile(everything, 0.99) * 1000, 2),
        "unit": "ms, p99 of a page of 50",
        "against": f"the same with {sides[0].jobs:,} jobs",
        "ratio": round(found, 3),
        "goal": GOAL,
        "stretch": STRETCH,
        "met": found <= GOAL,
        "p50_ratio": round(ratio(sides, 0.5), 3),
        "questions": {
            name: {"p50_ratio": round(ratio(sides, 0.5, name), 3), "p99_ratio": round(ratio(sides, 0.99, name), 3)}
            for name in sides[0].seconds
        },
        "name_that_nobody_has_ms": [round(second * 1000, 1) for second in absent],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it runs, measures little")
    short = parser.parse_args(arguments).short
    many, rounds = (10_000, 10) if short else (1_000_000, 400)
    result = line(*run(few=1_000, many=many, rounds=rounds))
    print(json.dumps(result))
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
