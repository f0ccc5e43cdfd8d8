"""Datasets over the REST API."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from backend.core.ids import new_id
from tests.datasets.files import Uploader, archive, digits
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
URL = "/api/v1/datasets"


def test_a_dataset_is_created_read_changed_and_deleted(
    client: TestClient, dataset: dict[str, Any], tenant: Tenant, leftovers: Callable[[], dict[str, int]]
) -> None:
    address = f"{URL}/{dataset['id']}"
    assert client.get(address).json() == dataset | {"labels": {}, "file_count": 0, "example_count": 0}
    assert dataset["project_id"] == str(tenant.project_id)
    changed = client.patch(address, json={"description": "handwritten", "tags": {"team": "a"}}).json()
    assert changed == dataset | {"description": "handwritten", "tags": {"team": "a"}}
    uploader = Uploader(client, dataset["id"])
    data = archive(digits())
    uploader.put(uploader.open(data), 1, data)
    assert uploader.send(data).status_code == 200
    assert client.delete(address).status_code == 204
    assert client.get(address).json()["code"] == "dataset_not_found"
    # Blobs may belong to other datasets too, and stay.
    assert leftovers() == {"upload_parts": 0, "dataset_files": 0, "blobs": 30, "objects": 30}


def test_a_name_is_taken_once_per_project(client: TestClient, dataset: dict[str, Any]) -> None:
    body = {"project_id": dataset["project_id"], "name": dataset["name"], "kind": "image"}
    answer = client.post(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_name_taken")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"target_column": "species"}, 422, "target_invalid"),
        ({"kind": "text", "column_types": {"a": "integer"}}, 422, "target_invalid"),
        ({"kind": "tabular", "column_types": {"a": "complex"}}, 422, "invalid_request"),
        ({"kind": "tabular", "target_column": "a\nb"}, 422, "invalid_request"),
        ({"kind": "video"}, 422, "invalid_request"),
        ({"name": "a b"}, 422, "invalid_request"),
        ({"name": ""}, 422, "invalid_request"),
        ({"name": 7}, 422, "invalid_request"),
        ({"project_id": "nonsense"}, 422, "invalid_request"),
        ({"project_id": str(new_id())}, 404, "project_not_found"),
        ({"tags": {"": "x"}}, 422, "invalid_request"),
        ({"tags": {"a": 1}}, 422, "invalid_request"),
    ],
)
def test_bad_requests_are_refused(
    client: TestClient, tenant: Tenant, changes: dict[str, Any], status: int, code: str
) -> None:
    body = {"project_id": str(tenant.project_id), "name": "other", "kind": "image"} | changes
    answer = client.post(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.get(URL).json()["items"] == []


def test_lists_filter_and_page(client: TestClient, tenant: Tenant) -> None:
    body = {"project_id": str(tenant.project_id), "kind": "image"}
    made = [client.post(URL, json=body | {"name": f"d-{n}"}).json()["id"] for n in range(3)]
    first = client.get(URL, params={"limit": 2}).json()
    rest = client.get(URL, params={"cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert [item["id"] for item in client.get(URL, params={"name": "d-1"}).json()["items"]] == [made[1]]
    assert client.get(URL, params={"project_id": str(new_id())}).json()["items"] == []
    assert client.get(URL, params={"name": "\0"}).status_code == 422
    assert client.get(URL, params={"cursor": "x"}).json()["code"] == "invalid_cursor"


def test_a_stranger_sees_nothing(
    client: TestClient, dataset: dict[str, Any], make_client: Clients, make_tenant: Callable[[], Tenant]
) -> None:
    stranger = make_client(make_tenant())
    address = f"{URL}/{dataset['id']}"
    for answer in (
        stranger.get(address),
        stranger.patch(address, json={"tags": {}}),
        stranger.delete(address),
        stranger.post(URL, json={"project_id": dataset["project_id"], "name": "x", "kind": "image"}),
    ):
        assert answer.status_code == 404
    assert stranger.get(URL).json()["items"] == []
    assert client.get(address).status_code == 200


async def _truncated_put(app: FastAPI, path: str, token: str) -> tuple[int, bytes]:
    """What a server does when the client goes away in the middle of a body."""
    incoming = [
        {"type": "http.request", "body": b"x" * 100, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", token.encode()), (b"content-length", b"1024")],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_a_truncated_body_stores_nothing(
    app: FastAPI, uploader: Uploader, leftovers: Callable[[], dict[str, int]]
) -> None:
    import asyncio

    data = archive(digits())
    upload = uploader.open(data)
    token = uploader.client.headers["authorization"]
    status, body = asyncio.run(_truncated_put(app, f"/api/v1/uploads/{upload['id']}/parts/1", token))
    assert status == 422
    assert b"truncated_body" in body
    assert leftovers() == {"upload_parts": 0, "dataset_files": 0, "blobs": 0, "objects": 0}
    assert uploader.put(upload, 1, data).status_code == 200
