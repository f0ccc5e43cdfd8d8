"""Composition root of the API: settings in, one application out.

`create_app` only wires. Starting (the lifespan) refuses a database whose schema this build does not know, then
beats: a row in Postgres tells the controllers since when agents have been able to reach an API (★7).
"""

import importlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from backend import examples, kinds
from backend.core.bell import Bell
from backend.core.crypto import derive_key
from backend.core.db import Database, Ring, make_engine
from backend.core.http import install_problem_handlers
from backend.core.idempotency import Idempotency
from backend.core.log import configure_logging
from backend.core.metrics import Metrics, Observed
from backend.core.middleware import BodyLimit, SecurityHeaders
from backend.core.openapi import api_routes, install_document
from backend.core.rates import RateHeaders, RequestRates
from backend.core.schema import check_schema
from backend.core.settings import Settings, require
from backend.core.storage import ObjectStore
from backend.identity.authentication import Authenticator
from backend.identity.security import make_security
from backend.identity.service import requests_per_minute
from backend.uptime import Pulse
from frontend import app as dashboard

ROUTERS = (
    "backend.core.health",
    "backend.apidocs",
    "backend.identity.api",
    "backend.projects.api",
    "backend.audit.api",
    "backend.datasets.api",
    "backend.datasets.imports_api",
    "backend.datasets.preview_api",
    "backend.registry.api",
    "backend.jobs.api",
    "backend.jobs.agent_api",
    "backend.training_jobs.api",
    "backend.compression_jobs.api",
    "backend.fleet.api",
    "backend.endpoints.api",
    "backend.endpoints.agent_api",
    "backend.endpoints.gateway_api",
    "backend.events.api",
    "backend.lineage.api",
    "backend.billing.api",
    "backend.admin.api",
)
"""Modules with a `router`, in the order of their rooms."""

_GIB = 1024**3
BODY_LIMITS = (
    (re.compile(r"/agent/v1/assignments/[^/]+/blobs/[0-9a-f]{64}"), 64 * _GIB),
    (re.compile(r"/agent/v1/assignments/[^/]+/usage-segments/[^/]+"), _GIB),
    (re.compile(r"/api/v1/(?:.+/)?uploads/.+/parts/[^/]+"), _GIB),
)
"""Routes that stream their body: (pattern of the whole path, bytes). All others: `api.max_body_bytes`."""


def build() -> FastAPI:
    """The application from the environment: `uvicorn --factory backend.app:build`."""
    settings = Settings()
    configure_logging(settings.log_level, as_json=settings.environment == "production")
    ring = Bell(settings.broker.url.get_secret_value()) if settings.broker.url is not None else None
    return create_app(settings, ring=ring)


def create_app(settings: Settings, *, ring: Ring | None = None) -> FastAPI:
    """The API. `ring` sends doorbells to the broker; None = controllers notice at their next tick.

    Needs `database.app_url` and `security.master_key`; RuntimeError names the one that is missing.
    """
    app = FastAPI(
        title="Modelyard",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    _fill_state(app, settings, ring)
    kinds.install()
    install_problem_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(Idempotency, vault=app.state.security.vault, at_once=settings.database.pool_size)
    app.add_middleware(BodyLimit, limit=settings.api.max_body_bytes, exceptions=BODY_LIMITS)
    app.add_middleware(RateHeaders)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observed, metrics=app.state.metrics)
    routers = [importlib.import_module(name).router for name in ROUTERS]
    for router in routers:
        app.include_router(router)
    app.state.routes = list(api_routes(routers))
    install_document(app, routers, examples.described)
    dashboard.install(app)
    return app


def _fill_state(app: FastAPI, settings: Settings, ring: Ring | None) -> None:
    url = require(settings.database.app_url, "MODELYARD_DATABASE__APP_URL")
    master_key = require(settings.security.master_key, "MODELYARD_SECURITY__MASTER_KEY")
    database = Database(make_engine(url, pool_size=settings.database.pool_size, name="modelyard-api"), ring)
    app.state.settings = settings
    app.state.ring = ring
    app.state.database = database
    app.state.operator_database = _operator_database(settings)
    app.state.storage = ObjectStore(settings.object_url)
    app.state.security = make_security(settings.security)
    app.state.authenticate = Authenticator(database)
    app.state.rates = RequestRates(settings.api.requests_per_minute, partial(requests_per_minute, database))
    app.state.metrics = Metrics()
    app.state.csrf_secret = derive_key(master_key, "dashboard CSRF tokens")


def _operator_database(settings: Settings) -> Database | None:
    """The admin console's connection, which only reads; few use it at a time."""
    if settings.database.operator_url is None:
        return None
    url = settings.database.operator_url.get_secret_value()
    return Database(make_engine(url, pool_size=2, name="modelyard-console"))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database: Database = app.state.database
    try:
        await run_in_threadpool(check_schema, database.engine)
        pulse = Pulse(database)
        await run_in_threadpool(pulse.start)
        try:
            yield
        finally:
            await run_in_threadpool(pulse.stop)
    finally:
        await run_in_threadpool(database.dispose)
        if app.state.operator_database is not None:
            await run_in_threadpool(app.state.operator_database.dispose)
