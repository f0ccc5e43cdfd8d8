"""A dataset to upload into, and what is stored of it."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from backend.datasets.models import Blob, DatasetFile, UploadPart
from tests.datasets.files import Uploader
from tests.datasets.http_source import HOST
from tests.fixtures.database import Tenant
from worker.context import ControlContext


@pytest.fixture
def dataset(client: TestClient, tenant: Tenant) -> dict[str, Any]:
    body = {"project_id": str(tenant.project_id), "name": "digits", "kind": "image"}
    answer = client.post("/api/v1/datasets", json=body)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


@pytest.fixture
def uploader(client: TestClient, dataset: dict[str, Any]) -> Uploader:
    return Uploader(client, dataset["id"])


@pytest.fixture
def storage(app: FastAPI) -> ObjectStore:
    store: ObjectStore = app.state.storage
    return store


@pytest.fixture
def leftovers(app_database: Database, storage: ObjectStore, tenant: Tenant) -> Callable[[], dict[str, int]]:
    """How many rows and objects the tenant has."""

    def count() -> dict[str, int]:
        with app_database.unit_of_work(tenant.scope) as session:
            rows = {
                model.__tablename__: session.scalar(select(func.count()).select_from(model)) or 0
                for model in (UploadPart, DatasetFile, Blob)
            }
        objects = sum(len(storage.keys(f"{prefix}/{tenant.organization_id}/")) for prefix in ("uploads", "blobs"))
        return {**rows, "objects": objects}

    return count


@pytest.fixture
def context(
    app: FastAPI, controller_database: Database, storage: ObjectStore, api_settings: Settings
) -> ControlContext:
    """The control worker's, and the API under the same settings: this one host may be private."""
    imports = api_settings.imports.model_copy(update={"allowed_hosts": frozenset({HOST})})
    app.state.settings = settings = app.state.settings.model_copy(update={"imports": imports})
    return ControlContext(database=controller_database, settings=settings, storage=storage, ring=None)
