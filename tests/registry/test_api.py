"""Models and model versions over the REST API."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from backend.audit.models import AuditEvent
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.lifecycle import Event
from backend.core.wire import FileRef
from backend.datasets.service import record_blob
from backend.registry.service import register_version
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
CONTENT = {"model.onnx": b"onnx" * 1000, "model.safetensors": b"weights", "signature.json": b"{}"}
Register = Callable[..., str]


@pytest.fixture
def register(app: FastAPI, app_database: Database, tenant: Tenant) -> Register:
    """Store an artifact and register it; returns the version's id."""

    def make(model_name: str = "digits", **lineage: Any) -> str:
        files = []
        for name, content in CONTENT.items():
            digest = hashlib.sha256(content).hexdigest()
            app.state.storage.put_blob(tenant.organization_id, digest, [content])
            files.append(FileRef(name=name, sha256=digest, size_bytes=len(content)))
        values: dict[str, Any] = {"job_id": None, "attempt_id": None, "dataset_version_id": None}
        with app_database.unit_of_work(tenant.scope) as session:
            for file in files:
                record_blob(session, tenant.scope, file.sha256, file.size_bytes)
            version = register_version(
                session,
                tenant.scope,
                project_id=tenant.project_id,
                model_name=model_name,
                files=files,
                signature={"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}], "outputs": []},
                metrics={"accuracy": 0.983},
                report={"latency_ms": 1.5},
                created_by="user:1",
                **{**values, "parent_version_id": None, **lineage},
            )
            return str(version.id)

    return make


def test_a_version_says_what_it_is_and_where_it_comes_from(client: TestClient, register: Register) -> None:
    parent = register()
    child = register("digits-int8", parent_version_id=parent)
    version = client.get(f"/api/v1/model-versions/{child}").json()
    assert version["model_name"] == "digits-int8"
    assert (version["number"], version["approval_status"], version["size_bytes"]) == (1, "pending", 4000)
    assert version["parent_version_id"] == parent
    assert version["job_id"] is None
    assert [file["name"] for file in version["files"]] == list(CONTENT)
    assert version["metrics"] == {"accuracy": 0.983}
    assert version["report"] == {"latency_ms": 1.5}
    assert version["signature"]["inputs"][0]["name"] == "image"


def test_models_list_with_their_newest_version(client: TestClient, register: Register, tenant: Tenant) -> None:
    for name in ("a", "b", "a", "a"):
        register(name)
    listed = client.get("/api/v1/models").json()["items"]
    assert [(model["name"], model["newest_version"]["number"]) for model in listed] == [("b", 1), ("a", 3)]
    model = listed[1]
    assert model["project_id"] == str(tenant.project_id)
    assert client.get(f"/api/v1/models/{model['id']}").json() == model
    assert client.get("/api/v1/models", params={"name": "a"}).json()["items"] == [model]
    assert client.get("/api/v1/models", params={"project_id": str(new_id())}).json()["items"] == []
    first = client.get(f"/api/v1/models/{model['id']}/versions", params={"limit": 2}).json()
    rest = client.get(f"/api/v1/models/{model['id']}/versions", params={"cursor": first["next_cursor"]}).json()
    assert [version["number"] for version in first["items"] + rest["items"]] == [3, 2, 1]


def test_files_download(client: TestClient, register: Register) -> None:
    version = register()
    for name, content in CONTENT.items():
        answer = client.get(f"/api/v1/model-versions/{version}/files/{name}")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-disposition"].startswith("attachment")
    for name in ("other.bin", "../secret", "%2e%2e/secret"):
        assert client.get(f"/api/v1/model-versions/{version}/files/{name}").status_code == 404


def test_approval_is_reviewed_and_recorded(
    client: TestClient, register: Register, app_database: Database, tenant: Tenant
) -> None:
    version = register()
    address = f"/api/v1/model-versions/{version}"
    assert client.post(f"{address}/approve").json()["approval_status"] == "approved"
    again = client.post(f"{address}/approve")
    assert (again.status_code, again.json()["code"]) == (409, "already_reviewed")
    rejected = client.post(f"{address}/reject", json={"reason": "drifts"})
    assert rejected.json()["approval_status"] == "rejected"
    assert client.post(f"{address}/reject", json={"why": "x"}).status_code == 422
    assert client.get(address).json()["approval_status"] == "rejected"
    with app_database.unit_of_work(tenant.scope) as session:
        events = session.scalars(select(Event).where(Event.resource_id == version).order_by(Event.at)).all()
        actions = session.scalars(select(AuditEvent.action).where(AuditEvent.resource_id == version)).all()
    assert [(event.from_status, event.to_status, event.reason) for event in events] == [
        ("pending", "approved", ""),
        ("approved", "rejected", "drifts"),
    ]
    assert sorted(actions) == ["model_version.approved", "model_version.register", "model_version.rejected"]


def test_tags_and_description_change(client: TestClient, register: Register) -> None:
    version = register()
    tagged = client.patch(f"/api/v1/model-versions/{version}", json={"tags": {"stage": "canary"}}).json()
    assert tagged["tags"] == {"stage": "canary"}
    assert client.patch(f"/api/v1/model-versions/{version}", json={"metrics": {}}).status_code == 422
    address = f"/api/v1/models/{tagged['model_id']}"
    changed = client.patch(address, json={"description": "reads digits", "tags": {"a": "b"}}).json()
    assert (changed["description"], changed["tags"]) == ("reads digits", {"a": "b"})
    assert client.get(address).json() == changed


def test_a_viewer_reads_and_a_stranger_sees_nothing(
    client: TestClient, register: Register, make_client: Clients, make_tenant: Callable[[], Tenant], tenant: Tenant
) -> None:
    version = register()
    model = client.get(f"/api/v1/model-versions/{version}").json()["model_id"]
    stranger, viewer = make_client(make_tenant()), make_client(tenant, "viewer")
    reads = (
        f"/api/v1/models/{model}",
        f"/api/v1/models/{model}/versions",
        f"/api/v1/model-versions/{version}",
        f"/api/v1/model-versions/{version}/files/model.onnx",
    )
    for url in reads:
        assert stranger.get(url).status_code == 404, url
        assert viewer.get(url).status_code == 200, url
    for method, url in (
        ("PATCH", f"/api/v1/models/{model}"),
        ("PATCH", f"/api/v1/model-versions/{version}"),
        ("POST", f"/api/v1/model-versions/{version}/approve"),
        ("POST", f"/api/v1/model-versions/{version}/reject"),
    ):
        body: dict[str, Any] = {"tags": {}} if method == "PATCH" else {}
        assert stranger.request(method, url, json=body).status_code == 404, url
        assert viewer.request(method, url, json=body).status_code == 403, url
    assert stranger.get("/api/v1/models").json()["items"] == []


@pytest.mark.parametrize("address", ["models", "model-versions"])
def test_ids_that_do_not_exist(client: TestClient, address: str) -> None:
    assert client.get(f"/api/v1/{address}/{new_id()}").status_code == 404
    assert client.get(f"/api/v1/{address}/nonsense").status_code == 422


def test_part_of_a_name_finds_models(client: TestClient, register: Register) -> None:
    for name in ("digits", "digits-int8", "faces"):
        register(name)

    def found(part: str) -> list[str]:
        return [one["name"] for one in client.get("/api/v1/models", params={"name_contains": part}).json()["items"]]

    assert found("INT8") == ["digits-int8"]
    assert found("igits") == ["digits-int8", "digits"]
    assert client.get("/api/v1/models", params={"name_contains": "%"}).status_code == 422


def test_the_history_of_an_approval_is_read(client: TestClient, register: Register) -> None:
    version = register()
    address = f"/api/v1/model-versions/{version}"
    assert client.get(f"{address}/events").json() == {"items": []}
    client.post(f"{address}/approve", json={"reason": "good enough"})
    client.post(f"{address}/reject", json={"reason": "drifts"})
    events = client.get(f"{address}/events").json()["items"]
    assert [(one["from_status"], one["to_status"], one["reason"]) for one in events] == [
        ("pending", "approved", "good enough"),
        ("approved", "rejected", "drifts"),
    ]
