"""Composition root of the API: settings in, one application out.

`create_app` only wires. Starting (the lifespan) refuses a database whose schema this build does not know, then
beats: a row in Postgres tells the controllers since when agents have been able to reach an API (★7).
"""

import importlib
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType

from fastapi import FastAPI

from backend import kinds
from backend.core.db import Database, Ring, make_engine
from backend.core.http import install_problem_handlers
from backend.core.log import configure_logging
from backend.core.migrate import check_schema
from backend.core.settings import Settings, require
from backend.core.storage import ObjectStore
from backend.identity.authentication import Authenticator

ROUTERS = (
    "backend.identity.api",
    "backend.projects.api",
    "backend.audit.api",
    "backend.datasets.api",
    "backend.registry.api",
    "backend.jobs.api",
    "backend.jobs.agent_api",
    "backend.training_jobs.api",
    "backend.compression_jobs.api",
    "backend.fleet.api",
    "backend.endpoints.api",
    "backend.endpoints.agent_api",
    "backend.endpoints.gateway_api",
    "backend.billing.api",
)
"""Modules with a `router`, in the order of their rooms. One that does not exist is left out."""


def build() -> FastAPI:
    """The application from the environment: `uvicorn --factory backend.app:build`."""
    settings = Settings()
    configure_logging(settings.log_level, as_json=settings.environment == "production")
    return create_app(settings)


def create_app(settings: Settings, *, ring: Ring | None = None) -> FastAPI:
    """The API. `ring` sends doorbells to the broker; None = controllers notice at their next tick.

    Needs `database.app_url`. Raises RuntimeError naming a setting that is missing.
    """
    app = FastAPI(
        title="Modelyard",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    url = require(settings.database.app_url, "MODELYARD_DATABASE__APP_URL")
    database = Database(make_engine(url, pool_size=settings.database.pool_size, name="modelyard-api"), ring)
    app.state.settings = settings
    app.state.ring = ring
    app.state.database = database
    app.state.storage = ObjectStore(storage_url(settings))
    app.state.authenticate = Authenticator(database)
    kinds.install()
    install_problem_handlers(app)
    for name in ROUTERS:
        module = _existing(name)
        if module is not None:
            app.include_router(module.router)
    return app


def storage_url(settings: Settings) -> str:
    """Where objects lie: `storage_url`, or a folder in the home."""
    return settings.storage_url or f"file://{settings.home.absolute() / 'objects'}"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    database: Database = app.state.database
    check_schema(database.engine)
    try:
        yield
    finally:
        database.dispose()


def _existing(name: str) -> ModuleType | None:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None
