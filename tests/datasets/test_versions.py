"""Dataset versions over the REST API: immutable, stratified, repeatable, and downloadable."""

import io
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.storage import ObjectStore
from backend.datasets.service import dataset_channel, version_digests
from tests.datasets.files import Uploader, archive, digits, png, sha256
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
SPLITS = {"train": 18, "validation": 6, "test": 6}


@pytest.fixture
def filled(uploader: Uploader) -> Uploader:
    assert uploader.send(archive(digits(3, 10))).status_code == 200
    return uploader


def freeze(uploader: Uploader, **body: Any) -> Any:
    return uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/versions", json={"splits": SPLITS} | body)


def frozen(uploader: Uploader, **body: Any) -> dict[str, Any]:
    answer = freeze(uploader, **body)
    assert answer.status_code == 201, answer.text
    version: dict[str, Any] = answer.json()
    return version


def test_a_version_is_an_exact_stratified_split(filled: Uploader) -> None:
    version = frozen(filled, tags={"for": "test"})
    assert version["number"] == 1
    assert version["splits"] == SPLITS
    assert version["classes"] == {label: {"train": 6, "validation": 2, "test": 2} for label in "012"}
    assert version["tags"] == {"for": "test"}
    assert version["file_count"] == 30
    assert filled.client.get(f"/api/v1/dataset-versions/{version['id']}").json() == version


def test_the_same_content_seed_and_sizes_give_the_same_manifest(filled: Uploader) -> None:
    first, same, other = frozen(filled, seed=7), frozen(filled, seed=7), frozen(filled, seed=8)
    assert (same["number"], same["manifest_sha256"]) == (2, first["manifest_sha256"])
    assert other["manifest_sha256"] != first["manifest_sha256"]
    fractions = frozen(filled, seed=7, splits={"train": 0.6, "validation": 0.2, "test": 0.2})
    assert fractions["manifest_sha256"] == first["manifest_sha256"]
    listed = filled.client.get(f"/api/v1/datasets/{filled.dataset_id}/versions", params={"limit": 3}).json()
    assert [version["number"] for version in listed["items"]] == [4, 3, 2]
    rest = filled.client.get(
        f"/api/v1/datasets/{filled.dataset_id}/versions", params={"cursor": listed["next_cursor"]}
    ).json()
    assert (rest["items"], rest["next_cursor"]) == ([first], None)


def test_an_idempotency_key_freezes_once(filled: Uploader) -> None:
    address = f"/api/v1/datasets/{filled.dataset_id}/versions"
    answers = [
        filled.client.post(address, json={"splits": SPLITS}, headers={"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(filled.client.get(address).json()["items"]) == 1


def test_what_comes_later_is_not_in_it(filled: Uploader) -> None:
    version = frozen(filled)
    assert filled.send(archive({"0/later.png": png(200)})).status_code == 200
    paths = [file["path"] for file in _files(filled.client, version["id"])]
    assert len(paths) == 30
    assert "0/later.png" not in paths


def test_the_channel_is_the_manifest(
    filled: Uploader, app_database: Database, storage: ObjectStore, tenant: Tenant
) -> None:
    version = frozen(filled)
    with app_database.unit_of_work(tenant.scope) as session:
        channel = dataset_channel(session, tenant.scope, version["id"])
    assert (channel.name, channel.kind) == ("dataset", "dataset")
    (manifest,) = channel.files
    assert (manifest.name, manifest.sha256) == ("manifest.parquet", version["manifest_sha256"])
    data = storage.get_blob(tenant.organization_id, manifest.sha256)
    assert (len(data), sha256(data)) == (manifest.size_bytes, manifest.sha256)
    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    assert Counter(row["split"] for row in rows) == SPLITS
    for row in rows:
        content = storage.get_blob(tenant.organization_id, row["sha256"])
        assert (len(content), sha256(content), row["width"]) == (row["size_bytes"], row["sha256"], 8)
        assert row["label"] == row["path"].split("/")[0]
    digests = version_digests(storage, manifest.sha256, tenant.organization_id)
    assert digests == {row["sha256"] for row in rows} | {manifest.sha256}


def _files(client: TestClient, version_id: str, **parameters: Any) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = client.get(f"/api/v1/dataset-versions/{version_id}/files", params=parameters | cursor).json()
        files += page["items"]
        if page["next_cursor"] is None:
            return files
        cursor = {"cursor": page["next_cursor"]}


def test_files_page_by_split_and_download(filled: Uploader) -> None:
    members = digits(3, 10)
    version = frozen(filled)
    client = filled.client
    every = _files(client, version["id"], limit=7)
    assert [file["path"] for file in every] == sorted(members)
    test = _files(client, version["id"], limit=4, split="test")
    assert test == [file for file in every if file["split"] == "test"]
    for file in test:
        answer = client.get(f"/api/v1/dataset-versions/{version['id']}/files/{file['sha256']}")
        assert (answer.status_code, answer.content) == (200, members[file["path"]])
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-length"] == str(file["size_bytes"])
    for cursor in ("x", "-1", "1.5", "\u0661", "9" * 30):
        refused = client.get(f"/api/v1/dataset-versions/{version['id']}/files", params={"cursor": cursor})
        assert refused.status_code == 422, cursor


def test_only_digests_of_the_version_are_given(filled: Uploader) -> None:
    version = frozen(filled)
    later = png(201)
    assert filled.send(archive({"0/later.png": later})).status_code == 200
    address = f"/api/v1/dataset-versions/{version['id']}/files"
    for digest in (sha256(later), version["manifest_sha256"], "0" * 64):
        answer = filled.client.get(f"{address}/{digest}")
        assert (answer.status_code, answer.json()["code"]) == (404, "file_not_in_version")
    assert filled.client.get(f"{address}/nonsense").status_code == 422


def test_one_class_or_too_few_files_is_refused(uploader: Uploader, filled: Uploader) -> None:
    impossible: list[tuple[dict[str, Any], str]] = [
        ({"splits": {"train": 31}}, "too_few_files"),
        ({"splits": {"train": 1, "test": 29}}, "too_few_files"),
        ({"splits": {"train": 0.5, "test": 0.1}}, "split_invalid"),
        ({"splits": {"test": 10}}, "split_invalid"),
    ]
    for body, code in impossible:
        answer = freeze(filled, **body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    malformed: list[dict[str, Any]] = [
        {"splits": {"train": -1}},
        {"splits": {"train": 1.5}},
        {"splits": {"training": 10}},
        {"splits": {"train": "10"}},
        {"splits": {"train": True}},
        {"splits": []},
        {"seed": -1},
        {"seed": 1 << 63},
    ]
    for body in malformed:
        answer = freeze(filled, **body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body
    assert uploader.client.get(f"/api/v1/datasets/{uploader.dataset_id}/versions").json()["items"] == []


def test_a_dataset_with_one_class_or_none(uploader: Uploader) -> None:
    answer = freeze(uploader)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_few_files")
    assert uploader.send(archive({f"only/{n}.png": png(n) for n in range(40)})).status_code == 200
    answer = freeze(uploader)
    assert (answer.status_code, answer.json()["code"]) == (422, "single_class")


def test_concurrent_versions_are_numbered_without_gaps(filled: Uploader) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = [version["number"] for version in pool.map(lambda seed: frozen(filled, seed=seed), range(8))]
    assert sorted(numbers) == list(range(1, 9))


def test_tags_change_and_nothing_else(filled: Uploader) -> None:
    version = frozen(filled)
    address = f"/api/v1/dataset-versions/{version['id']}"
    changed = filled.client.patch(address, json={"tags": {"a": "b"}}).json()
    assert changed == version | {"tags": {"a": "b"}}
    assert filled.client.patch(address, json={"tags": {}, "splits": {}}).status_code == 422


def test_a_dataset_with_versions_stays(filled: Uploader) -> None:
    frozen(filled)
    answer = filled.client.delete(f"/api/v1/datasets/{filled.dataset_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_has_versions")


def test_a_stranger_sees_nothing(
    filled: Uploader, make_client: Clients, make_tenant: Callable[[], Tenant], tenant: Tenant
) -> None:
    version = frozen(filled)
    address = f"/api/v1/dataset-versions/{version['id']}"
    file = _files(filled.client, version["id"])[0]
    stranger, viewer = make_client(make_tenant()), make_client(tenant, "viewer")
    for url in (address, f"{address}/files", f"{address}/files/{file['sha256']}"):
        assert stranger.get(url).json()["code"] == "dataset_version_not_found"
        assert viewer.get(url).status_code == 200
    assert stranger.patch(address, json={"tags": {}}).status_code == 404
    assert stranger.post(f"/api/v1/datasets/{filled.dataset_id}/versions", json={}).status_code == 404
    assert stranger.get(f"/api/v1/datasets/{filled.dataset_id}/versions").status_code == 404
    assert viewer.post(f"/api/v1/datasets/{filled.dataset_id}/versions", json={}).status_code == 403
    assert filled.client.get(f"/api/v1/dataset-versions/{new_id()}").status_code == 404
    assert filled.client.get("/api/v1/dataset-versions/nonsense").status_code == 422
