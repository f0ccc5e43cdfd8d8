"""Requests/s and p99 of the ten most used routes at 1, 16 and 64 clients, and what a request costs as data grows.

Run `python -m benchmarks.api_rates [--short]`; prints a table, and as last line a JSON list. A real API process over
durable PostgreSQL; the load comes from a process of its own (closed loop, keep-alive). One tenant has 1,000 rows of
each list, another of the same database 100,000; both have the same project, job and running attempt.

- *CPU*: milliseconds of the API process per request (its own counter, so a busy machine hardly changes it).
- *statements*, *transactions*: what one request sends to PostgreSQL, counted on the same application in this process.
- *growth*: CPU and p50 of the large tenant over the small one's, with one client, taken in turns; medians.

What counts: no list may cost more than GROWTH_GOAL times as much with a hundred times the rows, and no request may
use more statements than STATEMENTS says. Rates and latencies are told, not judged: they are the machine's.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from fastapi import FastAPI
from sqlalchemy import event
from starlette.testclient import TestClient

from backend.app import create_app
from benchmarks.load import COUNTER, Request, measure, request
from benchmarks.stack import SHAPE, ApiProcess, BenchAttempt, BenchTenant, Site, Stack

FEW, MANY = 1_000, 100_000
CLIENTS = (1, 16, 64)
GROWTH_GOAL, GROWTH_STRETCH = 1.2, 1.05
STATEMENTS_GOAL, STATEMENTS_STRETCH = 6, 3
"""Statements of the median route, its tenant and credential included; BEGIN and COMMIT are not counted."""

JOBS = """
    INSERT INTO jobs (id, organization_id, project_id, kind, name, parameters, inputs, output, instance_type, market,
        max_attempts, max_runtime_seconds, keep_alive_seconds, status, status_reason, progress, created_by, tags,
        created_at, ended_at, due_at)
    SELECT gen_random_uuid(), :organization, :project, 'sleep', 'old-' || n, '{"seconds": 1}', '{}', '{}', :shape,
        'on-demand', 1, 60, 0, CASE WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END, '', '{}', 'bench',
        '{"team": "vision"}', clock_timestamp() - n * interval '1 second', clock_timestamp(), NULL
    FROM generate_series(1, :count) n
"""
DATASETS = """
    INSERT INTO datasets (id, organization_id, project_id, name, kind, description, created_by, created_at)
    SELECT gen_random_uuid(), :organization, :project, 'data-' || n, 'image', '', 'bench',
        clock_timestamp() - n * interval '1 second'
    FROM generate_series(1, :count) n
"""
MODELS = """
    INSERT INTO models (id, organization_id, project_id, name, description, created_by, created_at)
    SELECT gen_random_uuid(), :organization, :project, 'model-' || n, '', 'bench',
        clock_timestamp() - n * interval '1 second'
    FROM generate_series(1, :count) n
"""
PROJECTS = """
    INSERT INTO projects (id, organization_id, name, description, created_at)
    SELECT gen_random_uuid(), :organization, 'project-' || n, '', clock_timestamp() - n * interval '1 second'
    FROM generate_series(1, :count) n
"""
ENDPOINTS = """
    WITH model AS (SELECT id FROM models WHERE organization_id = :organization LIMIT 1),
    version AS (
        INSERT INTO model_versions (id, organization_id, model_id, number, files, size_bytes, signature, metrics,
            report, approval_status)
        SELECT gen_random_uuid(), :organization, id, 1, '[]', 0, '{}', '{}', '{}', 'approved' FROM model RETURNING id
    ), ids AS (
        SELECT n, gen_random_uuid() AS endpoint_id, gen_random_uuid() AS config_id FROM generate_series(1, :count) n
    ), made AS (
        INSERT INTO endpoints (id, organization_id, project_id, name, status, status_reason, wanted_config_id,
            max_body_bytes, created_by, created_at)
        SELECT endpoint_id, :organization, :project, 'endpoint-' || n, 'failed', '', config_id, 1000000, 'bench',
            clock_timestamp() - n * interval '1 second'
        FROM ids
    ), configs AS (
        INSERT INTO endpoint_configs (id, organization_id, endpoint_id, number, instance_type, replica_count,
            processes, created_by)
        SELECT config_id, :organization, endpoint_id, 1, :shape, 1, 1, 'bench' FROM ids
    )
    INSERT INTO production_variants (id, organization_id, config_id, name, model_version_id, weight, position)
    SELECT gen_random_uuid(), :organization, config_id, 'blue', version.id, 1, 0 FROM ids, version
"""
CHUNKS = """
    INSERT INTO metric_chunks (id, organization_id, job_id, attempt_id, epoch, seq, name, steps, values, times)
    SELECT gen_random_uuid(), :organization, :job, (SELECT id FROM attempts WHERE job_id = :job), 1, 1000000 + n,
        'train/loss', ARRAY[n], ARRAY[1.0 / n], ARRAY[1.7e9 + n]
    FROM generate_series(1, 100) n
"""


@dataclass(frozen=True)
class Figures:
    """Of one route: rate and p99 (ms) by clients; CPU (ms) and statements per request; growth with the rows."""

    rates: dict[int, float]
    p99: dict[int, float]
    cpu: float
    statements: int
    transactions: int
    cpu_growth: float | None
    p50_growth: float | None


@dataclass(frozen=True)
class Subject:
    """A tenant with its rows."""

    tenant: BenchTenant
    attempt: BenchAttempt


def fill(site: Site, name: str, rows: int) -> Subject:
    """A tenant with so many rows in every list."""
    tenant = site.tenant(name)
    given = {"organization": tenant.organization_id, "project": tenant.project_id}
    for statement in (JOBS, DATASETS, MODELS, PROJECTS, ENDPOINTS):
        used = {
            key: value for key, value in (given | {"shape": SHAPE, "count": rows}).items() if f":{key}" in statement
        }
        site.fill(statement, **used)
    attempt = site.running_attempt(tenant, "measured")
    site.fill(CHUNKS, organization=tenant.organization_id, job=attempt.job_id)
    return Subject(tenant, attempt)


def routes(subject: Subject) -> dict[str, Request]:
    """The ten, by name."""
    tenant, job = subject.tenant, subject.attempt.job_id
    agent = {"Authorization": f"Bearer {subject.attempt.token}"}
    beat = {"reports": [], "running": [_running(subject.attempt)], "interruption_notice": None}
    nap = {"project_id": str(tenant.project_id), "name": f"nap-{COUNTER.decode()}", "instance_type": SHAPE}
    return {
        "GET /jobs": request("GET", "/api/v1/jobs", tenant.headers),
        "GET /jobs?status=": request("GET", "/api/v1/jobs?status=failed", tenant.headers),
        "GET /jobs/{id}": request("GET", f"/api/v1/jobs/{job}", tenant.headers),
        "GET /jobs/{id}/metrics": request("GET", f"/api/v1/jobs/{job}/metrics", tenant.headers),
        "GET /projects": request("GET", "/api/v1/projects", tenant.headers),
        "GET /datasets": request("GET", "/api/v1/datasets", tenant.headers),
        "GET /models": request("GET", "/api/v1/models", tenant.headers),
        "GET /endpoints": request("GET", "/api/v1/endpoints", tenant.headers),
        "POST /sleep-jobs": request("POST", "/api/v1/sleep-jobs", tenant.headers, nap),
        "POST /agent/v1/sync": request("POST", "/agent/v1/sync", agent, beat),
    }


LISTS = ("GET /jobs", "GET /jobs?status=", "GET /projects", "GET /datasets", "GET /models", "GET /endpoints")


def _running(attempt: BenchAttempt) -> dict[str, Any]:
    return {"assignment_id": str(attempt.assignment_id), "epoch": 1, "elapsed_seconds": 1.0}


@contextmanager
def counted(app: FastAPI) -> Iterator[dict[str, int]]:
    """Statements and transactions of this application, counted from 0."""
    found = {"statements": 0, "transactions": 0}
    engine = app.state.database.engine

    def statement(*_: object) -> None:
        found["statements"] += 1

    def commit(*_: object) -> None:
        found["transactions"] += 1

    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", commit)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", statement)
        event.remove(engine, "commit", commit)


def statements_of(app: FastAPI, one: Request, number: int) -> tuple[int, int]:
    """Statements and transactions of one request, when the process is warm."""
    client = TestClient(app, headers=dict(one.headers))
    for turn in range(2):
        body = None if one.body is None else one.body.replace(COUNTER, b"%09d" % (number + turn))
        with counted(app) as found:
            answer = client.request(one.method, one.path, content=body)
        assert answer.is_success, answer.text
    return found["statements"], found["transactions"]


@dataclass(frozen=True)
class Sizes:
    """How long each run lasts, and how much data there is."""

    seconds: float
    rounds: int
    few: int
    many: int


def cost(api: ApiProcess, one: Request, seconds: float, begin: int) -> tuple[float, float]:
    """Milliseconds per request with one client: CPU of the API process, and p50."""
    before = api.cpu_seconds()
    seen = measure(api.url, [one], clients=1, seconds=seconds, begin=begin)
    return (api.cpu_seconds() - before) / len(seen.seconds) * 1000, seen.percentile(0.5) * 1000


def run(sizes: Sizes) -> dict[str, Figures]:
    """All figures by route."""
    with Stack() as stack:
        site = stack.site("rates")
        small, large = fill(site, "few", sizes.few), fill(site, "many", sizes.many)
        site.settle("jobs", "datasets", "models", "projects", "endpoints", "metric_chunks")
        counts = _count(site, routes(small))
        with site.api() as api:
            asked, asked_large = routes(small), routes(large)
            found = {}
            for place, name in enumerate(asked):
                found[name] = _figures(api, sizes, asked[name], asked_large[name], counts[name], (place + 1) * 10**7)
                _say(name, found[name])
        return found


def _count(site: Site, asked: dict[str, Request]) -> dict[str, tuple[int, int]]:
    api = site.settings.api.model_copy(update={"requests_per_minute": 10**9})
    app = create_app(site.settings.model_copy(update={"api": api}))
    try:
        return {name: statements_of(app, one, 10**8 + 10 * place) for place, (name, one) in enumerate(asked.items())}
    finally:
        app.state.database.dispose()


def _figures(
    api: ApiProcess, sizes: Sizes, small: Request, large: Request, counts: tuple[int, int], begin: int
) -> Figures:
    measure(api.url, [small], clients=4, seconds=sizes.seconds / 2, begin=begin)
    pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for turn in range(sizes.rounds):
        at = begin + 10**6 * (2 * turn + 1)
        pairs.append((cost(api, small, sizes.seconds, at), cost(api, large, sizes.seconds, at + 10**6)))
    rates, p99 = {}, {}
    for clients in CLIENTS:
        seen = measure(api.url, [small], clients=clients, seconds=sizes.seconds, begin=begin + 10**5 * clients)
        rates[clients], p99[clients] = seen.rate, seen.percentile(0.99) * 1000
    grows = small.method == "GET"
    return Figures(
        rates=rates,
        p99=p99,
        cpu=median(few[0] for few, _ in pairs),
        statements=counts[0],
        transactions=counts[1],
        cpu_growth=median(many[0] / few[0] for few, many in pairs) if grows else None,
        p50_growth=median(many[1] / few[1] for few, many in pairs) if grows else None,
    )


def _say(name: str, figures: Figures) -> None:
    rates = " ".join(f"{figures.rates[clients]:7.0f}/s {figures.p99[clients]:7.1f} ms" for clients in CLIENTS)
    growth = "" if figures.p50_growth is None else f"{figures.cpu_growth:5.2f} {figures.p50_growth:5.2f}"
    queries = f"{figures.statements:2d} {figures.transactions:2d}"
    print(f"{name:24} {rates} {figures.cpu:6.2f} ms {queries}  {growth}", flush=True)


def lines(found: dict[str, Figures]) -> list[dict[str, Any]]:
    """The results as JSON objects."""
    growth = max(found[name].p50_growth or 0.0 for name in LISTS)
    statements = median(one.statements for one in found.values())
    return [
        {
            "name": "api_growth",
            "value": round(growth, 3),
            "unit": "p50 of the worst list with 100 times the rows",
            "against": "the same list with a hundredth of the rows",
            "ratio": round(growth, 3),
            "goal": GROWTH_GOAL,
            "stretch": GROWTH_STRETCH,
            "met": growth <= GROWTH_GOAL,
        },
        {
            "name": "api_statements",
            "value": statements,
            "unit": "statements per request, median of the routes",
            "against": f"a limit of {STATEMENTS_GOAL}",
            "ratio": round(STATEMENTS_GOAL / statements, 3),
            "goal": STATEMENTS_GOAL,
            "stretch": STATEMENTS_STRETCH,
            "met": statements <= STATEMENTS_GOAL,
            "routes": {
                name: {
                    "requests_per_second": {str(key): round(value) for key, value in one.rates.items()},
                    "p99_ms": {str(key): round(value, 1) for key, value in one.p99.items()},
                    "cpu_ms": round(one.cpu, 2),
                    "statements": one.statements,
                    "transactions": one.transactions,
                    "cpu_growth": one.cpu_growth and round(one.cpu_growth, 2),
                    "p50_growth": one.p50_growth and round(one.p50_growth, 2),
                }
                for name, one in found.items()
            },
        },
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it runs, measures little")
    short = parser.parse_args(arguments).short
    sizes = Sizes(0.3, 1, 100, 1000) if short else Sizes(3.0, 3, FEW, MANY)
    print(
        f"{'':24} " + " ".join(f"{f'{clients} clients: rate, p99':>20}" for clients in CLIENTS) + "  CPU, SQL, growth"
    )
    found = lines(run(sizes))
    print(json.dumps(found))
    return 0 if all(one["met"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
