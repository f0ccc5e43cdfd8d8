"""What the benchmark of pages visits: one large organization among a thousand, written as plain SQL.

Ids, and words of addresses, are found by the place that they take in a route: a route of a new room that names what is
known already is visited without a line here, and one that names something new is refused with its name.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx2
import msgspec
import numpy as np
from fastapi.routing import APIRoute
from sqlalchemy import text

from backend.core.db import Database, make_engine
from backend.core.pagination import encode_cursor
from backend.core.storage import ObjectStore
from backend.core.wire import Logs
from backend.fleet.sync import log_key
from backend.identity.security import make_security
from benchmarks import export_metrics, job_list
from benchmarks.stack import SHAPE, BenchTenant, Site, Stack
from frontend.app import ROOMS
from tests.fixtures.database import Tenant
from tests.frontend.registered import Registry
from tests.training.folders import png

LINES_PER_CHUNK = 100
PICTURE = png(np.zeros((28, 28), np.uint8))
"""Content of the first of the many files; that of the others is not stored."""
EMAIL, PASSWORD = "owner@acme.test", "a password of many words"  # a database that is gone afterwards
CHUNKS = """
    INSERT INTO log_chunks (id, organization_id, job_id, attempt_id, attempt_number, epoch, seq, line_count, size_bytes,
        storage_key)
    SELECT uuidv7(), a.organization_id, a.job_id, a.id, 1, 1, n, :lines, :lines * 40, replace(:key, '*', n::text)
    FROM attempts a, generate_series(1, CAST(:count AS bigint)) n WHERE a.job_id = :job ORDER BY n
"""
PRICE = """
    INSERT INTO prices (id, sku, unit, amount, description, effective_from)
    VALUES (uuidv7(), :sku, 'second', 0.001, '', timestamptz '2020-01-01')
"""
# Slices of a minute, spread over the month so far: of a job each, or all of one endpoint.
CHARGED = """
    WITH used AS (
        INSERT INTO usage_records (id, organization_id, project_id, source_kind, source_id, resource_kind, resource_id,
            resource_name, sku, quantity, from_at, to_at, detail, rated_at)
        SELECT uuidv7(), :organization, :project, :source, uuidv7(), :kind,
            coalesce(CAST(:resource AS uuid), uuidv7()), 'digits', :sku, 60, at, at + interval '1 minute', '{}', now()
        FROM (SELECT date_trunc('month', now()) + n * (now() - date_trunc('month', now())) / (:count + 1) AS at
            FROM generate_series(1, CAST(:count AS bigint)) n) RETURNING *
    )
    INSERT INTO charges (id, organization_id, project_id, usage_record_id, price_id, resource_kind, resource_id,
        resource_name, sku, quantity, unit, unit_price, amount, from_at, to_at)
    SELECT uuidv7(), used.organization_id, project_id, used.id, prices.id, resource_kind, resource_id, resource_name,
        used.sku, quantity, 'second', 0.001, quantity * 0.001, from_at, to_at FROM used JOIN prices USING (sku)
"""
DATASET = """
    INSERT INTO datasets (id, organization_id, project_id, name, kind, description, created_by, tags)
    VALUES (uuidv7(), :organization, :project, 'many-digits', 'image', '', 'user:bench', '{}') RETURNING id
"""
UPLOAD = """
    INSERT INTO uploads (id, organization_id, dataset_id, file_name, size_bytes, sha256, part_size_bytes, status,
        created_by, expires_at, file_count)
    VALUES (uuidv7(), :organization, :dataset, 'digits.zip', 1, repeat('0', 64), 1, 'completed', 'user:bench',
        now() + interval '1 day', :count) RETURNING id
"""
FILES = """
    INSERT INTO dataset_files (id, organization_id, dataset_id, upload_id, path, sha256, size_bytes, label, attributes)
    SELECT uuidv7(), :organization, :dataset, :upload, n % 10 || '/' || lpad(n::text, 7, '0') || '.png',
        CASE n WHEN 1 THEN :stored ELSE encode(sha256(n::text::bytea), 'hex') END,
        CASE n WHEN 1 THEN :stored_bytes ELSE 300 + n % 100 END, (n % 10)::text,
        '{"width": 28, "height": 28, "mode": "L"}'
    FROM generate_series(1, CAST(:count AS bigint)) n
"""
BUDGET = """
    INSERT INTO budgets (id, organization_id, amount, alert_percents, hold_at_limit, tags)
    VALUES (uuidv7(), :organization, 1000000, '[80, 100]', false, '{}') RETURNING id
"""
WEBHOOK = """
    INSERT INTO event_subscriptions (id, organization_id, channel, target, description, event_types, created_by)
    VALUES (uuidv7(), :organization, 'email', 'somebody@acme.test', '', '{*}', 'user:bench') RETURNING id
"""
DELIVERIES = """
    INSERT INTO event_deliveries (id, organization_id, subscription_id, event_id, event_type, resource_kind,
        resource_id, resource_name, body, delivered_at)
    SELECT uuidv7(), :organization, :subscription, uuidv7(), 'job.completed', 'job', uuidv7(), 'digits', '{}', now()
    FROM generate_series(1, CAST(:count AS bigint)) n
"""
OTHERS = """
    INSERT INTO organizations (id, account_id, name, slug)
    SELECT uuidv7(), (100000000000 + n)::text, 'organization ' || n, 'organization-' || n
    FROM generate_series(1, CAST(:count AS bigint)) n
"""
MACHINES = """
    INSERT INTO instances (id, organization_id, project_id, tags, instance_type, market, provider, tag, status,
        status_reason, agent, requested_at, terminated_at)
    SELECT uuidv7(), :organization, :project, '{}', :shape, 'on-demand', 'local', 'past-' || n, 'terminated', '', '{}',
        now() - n * interval '1 minute', now() FROM generate_series(1, CAST(:count AS bigint)) n
"""
LARGE = ("jobs", "charges", "usage_records", "metric_chunks", "log_chunks", "dataset_files", "event_deliveries")


@dataclass(frozen=True)
class Size:
    """How much there is. `charges`: jobs with a charge; half as many are an endpoint's."""

    jobs: int
    charges: int
    points: int
    lines: int
    files: int
    organizations: int = 1000


@dataclass(frozen=True)
class Filled:
    """A filled site. `ids`: what takes a place in a route; `other`: a second job with curves; `middle`: a cursor into
    the list of jobs; `freeze_seconds`: its large dataset frozen over the API.
    """

    site: Site
    ids: Mapping[str, str]
    other: str
    middle: str
    freeze_seconds: float


def fill_log(site: Site, tenant: BenchTenant, job_id: UUID, lines: int) -> None:
    """So many lines in the job's log, in chunks as agents send them."""
    storage = ObjectStore(site.settings.object_url)
    count = lines // LINES_PER_CHUNK
    key = log_key(tenant.organization_id, str(job_id), 1, 0).rpartition("/")[0] + "/*"
    for number in range(1, count + 1):
        said = [f"epoch {number} step {line} loss 0.{line:04}" for line in range(LINES_PER_CHUNK)]
        chunk = Logs(lines=said, times=[1.7e9 + number] * LINES_PER_CHUNK)
        storage.put(key.replace("*", str(number)), msgspec.json.encode(chunk))
    site.fill(CHUNKS, job=job_id, lines=LINES_PER_CHUNK, key=key, count=count)


def _one(site: Site, statement: str, **given: object) -> str:
    with site.controller.unit_of_work() as session:
        return str(session.execute(text(statement), given).scalar_one())


def _freeze(site: Site, tenant: BenchTenant, dataset: str) -> tuple[str, float]:
    """A version of the dataset, made over the API, and the seconds that it took."""
    with site.api() as api, httpx2.Client(base_url=api.url, headers=tenant.headers, timeout=120) as http:
        wanted = {"splits": {"train": 0.8, "validation": 0.1, "test": 0.1}, "seed": 0, "stratify": True}
        ids = []
        for seed in (0, 1):
            began = datetime.now(UTC)
            answer = http.post(f"/api/v1/datasets/{dataset}/versions", json=wanted | {"seed": seed})
            taken = (datetime.now(UTC) - began).total_seconds()
            if answer.status_code != 201:
                raise RuntimeError(f"freezing: {answer.status_code} {answer.text[:500]}")
            ids.append(str(answer.json()["id"]))
    return ids[-1], taken


def fill(stack: Stack, size: Size) -> Filled:
    """One organization with all of it, and its owner, who is an operator too."""
    site = stack.site("pages")
    tenant = site.tenant("acme")
    _let_in(site)
    own = {"organization": tenant.organization_id, "project": tenant.project_id}
    mine = {"organization": tenant.organization_id}
    site.fill(OTHERS, count=size.organizations)
    site.fill(MACHINES, **own, shape=SHAPE, count=size.organizations * 10)
    job_list.fill(site, tenant, size.jobs)
    long, other = (export_metrics.fill(site, tenant, name, size.points) for name in ("long", "other"))
    fill_log(site, tenant, long, size.lines)
    registered = _Models(site, tenant).made
    endpoint = registered["endpoint"]
    _charge(site, own, endpoint, size.charges)
    dataset, digest = _upload(site, tenant, size.files)
    subscription = _one(site, WEBHOOK, **mine)
    site.fill(DELIVERIES, **mine, subscription=subscription, count=size.charges)
    budget = _one(site, BUDGET, **mine)
    site.settle(*LARGE)
    version, seconds = _freeze(site, tenant, dataset)
    ids = {
        "job_id": str(long),
        "dataset_id": dataset,
        "file_id": _one(site, "SELECT id FROM dataset_files WHERE sha256 = :digest", digest=digest),
        "sha256": digest,
        "version_id": version,
        "model version_id": registered["version"],
        "model_id": registered["model"],
        "endpoint_id": endpoint,
        "month": f"{datetime.now(UTC):%Y-%m}",
        "budget_id": budget,
        "project_id": str(tenant.project_id),
        "user_id": _one(site, "SELECT id FROM users"),
        "subscription_id": subscription,
        "delivery_id": _one(site, "SELECT id FROM event_deliveries LIMIT 1"),
        "organization_id": str(tenant.organization_id),
    }
    site.settle(*LARGE, "dataset_versions")
    return Filled(site, ids, str(other), _middle(site, size), seconds)


def _let_in(site: Site) -> None:
    """The owner has a password, and is an operator."""
    hashed = make_security(site.settings.security).passwords.hash(PASSWORD)
    site.fill("UPDATE users SET password_hash = :hashed", hashed=hashed)
    site.fill("INSERT INTO operators (user_id, granted_by) SELECT id, 'bench' FROM users")


def _charge(site: Site, own: dict[str, UUID], endpoint: str, count: int) -> None:
    """So many jobs with a charge, and half as many charges of the endpoint."""
    bill = own | {"sku": f"instance:{SHAPE}:on-demand"}
    site.fill(PRICE, sku=bill["sku"])
    site.fill(CHARGED, **bill, source="attempt", kind="job", resource=None, count=count)
    site.fill(CHARGED, **bill, source="replica", kind="endpoint", resource=endpoint, count=count // 2)


def _upload(site: Site, tenant: BenchTenant, count: int) -> tuple[str, str]:
    """A dataset of so many files, and the digest of the one whose content is stored."""
    mine = {"organization": tenant.organization_id}
    dataset = _one(site, DATASET, **mine, project=tenant.project_id)
    upload = _one(site, UPLOAD, **mine, dataset=dataset, count=count)
    digest = hashlib.sha256(PICTURE).hexdigest()
    ObjectStore(site.settings.object_url).put_blob(tenant.organization_id, digest, [PICTURE])
    site.fill(FILES, **mine, dataset=dataset, upload=upload, count=count, stored=digest, stored_bytes=len(PICTURE))
    return dataset, digest


class _Models:
    """Models of the organization with an endpoint, as jobs leave them."""

    def __init__(self, site: Site, tenant: BenchTenant) -> None:
        url = site.settings.database.app_url
        assert url is not None
        app = Database(make_engine(url.get_secret_value(), pool_size=1, name="bench-app"))
        try:
            storage = ObjectStore(site.settings.object_url)
            registry = Registry(app, storage, Tenant(tenant.organization_id, tenant.project_id))
            digits = registry.digits()
            endpoint = registry.deploy("digits", digits.compressed, SHAPE)
        finally:
            app.dispose()
        self.made = {
            "model": str(digits.model_id),
            "version": str(digits.compressed),
            "endpoint": str(endpoint),
        }


def _middle(site: Site, size: Size) -> str:
    with site.controller.unit_of_work() as session:
        given = {"name": f"digits-{size.jobs // 2:07}"}
        row = session.execute(text("SELECT created_at, id FROM jobs WHERE name = :name"), given).one()
    return encode_cursor([row.created_at, row.id])


def addresses(filled: Filled) -> dict[str, str]:
    """Every address of dashboard and console that can be opened, by what it is; and views of long lists."""
    named = _named(filled)
    shapes = dict.fromkeys(
        route.path
        for room in ROOMS
        for route in room.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    )
    found: dict[str, str] = {}
    for shape in shapes:
        for address in named.get(shape, [shape]):
            path = _placed(address, filled.ids)
            found[address.partition("?")[0]] = path
    return found | {
        "/training, failed": "/training?status=failed",
        "/training, part of a name": "/training?text=igits",
        "/training, a name that nobody has": "/training?text=nobody-has-this",
        "/training, by name": "/training?sort=name",
        "/training, in the middle": f"/training?cursor={filled.middle}",
        "/data/{dataset_id}/files, one label": _placed("/data/{dataset_id}/files?label=7", filled.ids),
    }


def _named(filled: Filled) -> dict[str, list[str]]:
    """Addresses of routes that are asked with words: by route."""
    jobs = f"?job={filled.ids['job_id']}&job={filled.other}"
    return {
        "/models/versions/{version_id}/files/{name:path}": ["/models/versions/{version_id}/files/evaluation.json"],
        "/endpoints/{endpoint_id}/figures/{picture}": ["/endpoints/{endpoint_id}/figures/cost"],
        "/costs/figures/{name}": [f"/costs/figures/{name}" for name in ("days", "ahead", "treemap", "compute")],
        "/lineage/{kind}/{identity}": ["/lineage/job/{job_id}", "/lineage/dataset_version/{version_id}"],
        "/training/compare": [f"/training/compare{jobs}"],
        "/training/compare/metrics": [f"/training/compare/metrics{jobs}"],
        "/data/{dataset_id}/open-uploads": [f"/data/{{dataset_id}}/open-uploads?sha256={'0' * 64}"],
        "/search": ["/search?text=igits"],
    }


def _placed(address: str, ids: Mapping[str, str]) -> str:
    """The address with ids in its places. Raises RuntimeError where one is not known."""

    def found(place: re.Match[str]) -> str:
        name = f"model {place[1]}" if address.startswith("/models/versions") else place[1]
        if name not in ids:
            raise RuntimeError(f"{address}: say in `ids` or `_named` what stands for {name}")
        return ids[name]

    return re.sub(r"{(\w+)}", found, address)
