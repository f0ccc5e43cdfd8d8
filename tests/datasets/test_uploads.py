"""Uploads over the REST API: parts, resume, completion, and that a failure leaves nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.lifecycle import Event
from backend.datasets.models import Upload
from tests.datasets.files import Uploader, archive, digits, jpeg, png, sha256
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
NOTHING = {"upload_parts": 0, "dataset_files": 0, "blobs": 0, "objects": 0}
Leftovers = Callable[[], dict[str, int]]


def test_an_archive_becomes_files_of_the_dataset(uploader: Uploader, client: TestClient, leftovers: Leftovers) -> None:
    data = archive(digits(3, 10) | {"photo/a.jpg": jpeg(9), "__MACOSX/0/._a.png": b"x", "0/.DS_Store": b"x"})
    upload = uploader.open(data)
    assert upload["status"] == "open"
    assert upload["part_count"] == -(-len(data) // 1024)
    uploader.put_all(upload, data)
    done = uploader.complete(upload)
    assert done.status_code == 200, done.text
    assert done.json() | {"status": "completed", "file_count": 31, "errors": []} == done.json()
    detail = client.get(f"/api/v1/datasets/{uploader.dataset_id}").json()
    assert detail["labels"] == {"0": 10, "1": 10, "2": 10, "photo": 1}
    assert leftovers() == {"upload_parts": 0, "dataset_files": 31, "blobs": 31, "objects": 31}
    assert uploader.complete(upload).json() == done.json()


def test_an_interrupted_upload_resumes(uploader: Uploader, client: TestClient) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    for number in (1, 3):
        uploader.put(upload, number, data)
    incomplete = uploader.complete(upload)
    assert (incomplete.status_code, incomplete.json()["code"]) == (409, "upload_incomplete")
    absent = [number for number in range(1, upload["part_count"] + 1) if number not in (1, 3)]
    assert incomplete.json()["missing"] == absent
    state = client.get(f"/api/v1/uploads/{upload['id']}").json()
    assert [(part["number"], part["sha256"]) for part in state["parts"]] == [
        (number, sha256(data[(number - 1) * 1024 : number * 1024])) for number in (1, 3)
    ]
    for number in absent:
        uploader.put(upload, number, data)
    assert uploader.complete(upload).json()["status"] == "completed"


def test_uploads_of_a_dataset_are_listed(uploader: Uploader) -> None:
    ids = [uploader.open(archive(digits()))["id"] for _ in range(3)]
    address = f"/api/v1/datasets/{uploader.dataset_id}/uploads"
    first = uploader.client.get(address, params={"limit": 2}).json()
    rest = uploader.client.get(address, params={"cursor": first["next_cursor"]}).json()
    assert [upload["id"] for upload in first["items"] + rest["items"]] == ids[::-1]
    assert uploader.client.get(f"/api/v1/datasets/{new_id()}/uploads").json()["code"] == "dataset_not_found"


def test_a_part_may_be_put_again(uploader: Uploader) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    assert uploader.put(upload, 1, b"x" * 1024).status_code == 200
    uploader.put_all(upload, data)
    assert uploader.complete(upload).status_code == 200


@pytest.mark.parametrize("size", [0, 1023, 1025, 500_000])
def test_a_part_of_another_size_is_refused(uploader: Uploader, leftovers: Leftovers, size: int) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    answer = uploader.client.put(f"/api/v1/uploads/{upload['id']}/parts/1", content=b"x" * size)
    assert (answer.status_code, answer.json()["code"]) == (422, "part_size_mismatch")
    assert answer.json()["expected_bytes"] == 1024
    assert leftovers() == NOTHING


def test_a_part_with_another_digest_is_refused(uploader: Uploader, leftovers: Leftovers) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    answer = uploader.put(upload, 1, data, **{"X-Content-SHA256": sha256(b"other")})
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
    assert leftovers() == NOTHING
    assert uploader.put(upload, 1, data, **{"X-Content-SHA256": sha256(data[:1024])}).status_code == 200


@pytest.mark.parametrize("number", ["0", "-1", "999", "99999999999999999999", "one"])
def test_a_part_number_out_of_range_is_refused(uploader: Uploader, number: str) -> None:
    upload = uploader.open(archive(digits()))
    answer = uploader.client.put(f"/api/v1/uploads/{upload['id']}/parts/{number}", content=b"x")
    assert answer.status_code == 422
    assert answer.json()["code"] in {"part_number_unknown", "invalid_request"}


def test_a_wrong_checksum_ends_the_upload_and_leaves_nothing(uploader: Uploader, leftovers: Leftovers) -> None:
    data = archive(digits())
    upload = uploader.open(data, sha256=sha256(b"something else"))
    uploader.put_all(upload, data)
    answer = uploader.complete(upload)
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum_mismatch")
    _assert_failed(uploader, upload, "checksum_mismatch")
    assert leftovers() == NOTHING


def test_one_bad_image_fails_them_all_and_leaves_nothing(
    uploader: Uploader, leftovers: Leftovers, app_database: Database, tenant: Tenant
) -> None:
    truncated = png(1, size=(64, 64))[:-20]
    bad = {"1/text.png": b"this is no image", "2/half.png": truncated, "2/movie.mp4": b"x", "0/lie.png": jpeg(3)}
    data = archive(digits() | bad)
    upload = uploader.open(data)
    uploader.put_all(upload, data)
    answer = uploader.complete(upload)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_files")
    codes = {error["path"]: error["code"] for error in answer.json()["errors"]}
    assert codes == {
        "1/text.png": "not_an_image",
        "2/half.png": "not_an_image",
        "2/movie.mp4": "unsupported_type",
        "0/lie.png": "wrong_extension",
    }
    _assert_failed(uploader, upload, "not_an_image")
    assert leftovers() == NOTHING
    with app_database.unit_of_work(tenant.scope) as session:
        events = session.scalars(select(Event).where(Event.resource_id == upload["id"]).order_by(Event.at)).all()
    assert [(event.from_status, event.to_status) for event in events] == [(None, "open"), ("open", "failed")]


def test_no_more_than_a_hundred_errors_are_listed(uploader: Uploader) -> None:
    answer = uploader.send(archive({f"a/{n}.png": b"x" for n in range(150)}))
    assert len(answer.json()["errors"]) == 100


def _assert_failed(uploader: Uploader, upload: dict[str, Any], code: str) -> None:
    state = uploader.client.get(f"/api/v1/uploads/{upload['id']}").json()
    assert (state["status"], state["parts"], state["errors"][0]["code"]) == ("failed", [], code)
    again = uploader.complete(upload)
    assert (again.status_code, again.json()["code"]) == (409, "upload_not_open")
    put = uploader.client.put(f"/api/v1/uploads/{upload['id']}/parts/1", content=b"x" * 1024)
    assert (put.status_code, put.json()["code"]) == (409, "upload_not_open")


def test_giving_up_removes_the_parts(uploader: Uploader, leftovers: Leftovers) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    uploader.put(upload, 1, data)
    address = f"/api/v1/uploads/{upload['id']}"
    assert uploader.client.delete(address).json()["status"] == "aborted"
    assert uploader.client.delete(address).status_code == 200
    assert leftovers() == NOTHING
    assert uploader.put(upload, 1, data).status_code == 409
    assert leftovers() == NOTHING


def test_one_image_with_its_label(uploader: Uploader, client: TestClient) -> None:
    done = uploader.send(png(7), file_name="seven.png", label="7")
    assert done.json()["file_count"] == 1, done.text
    assert client.get(f"/api/v1/datasets/{uploader.dataset_id}").json()["labels"] == {"7": 1}
    assert uploader.send(b"no image", file_name="eight.png", label="8").json()["code"] == "invalid_files"


def test_the_same_file_again_is_fine_and_other_content_is_not(uploader: Uploader, client: TestClient) -> None:
    assert uploader.send(archive({"a/1.png": png(1), "b/1.png": png(2)})).status_code == 200
    assert uploader.send(archive({"a/1.png": png(1), "a/2.png": png(3)})).status_code == 200
    answer = uploader.send(archive({"a/1.png": png(4), "a/3.png": png(5)}))
    assert answer.json()["errors"][0] | {"path": "a/1.png", "code": "path_exists"} == answer.json()["errors"][0]
    assert client.get(f"/api/v1/datasets/{uploader.dataset_id}").json()["file_count"] == 3


def test_concurrent_uploads_of_one_path_agree_on_one(uploader: Uploader) -> None:
    opened = []
    for shade in range(4):
        data = archive({"a/same.png": png(shade)})
        opened.append(uploader.open(data))
        uploader.put_all(opened[-1], data)
    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(uploader.complete, opened))
    assert statuses == [200, 422, 422, 422]


def test_concurrent_completions_of_one_upload_agree(uploader: Uploader, leftovers: Leftovers) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    uploader.put_all(upload, data)
    with ThreadPoolExecutor(4) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: uploader.complete(upload), range(4))]
    assert 200 in statuses
    assert set(statuses) <= {200, 409}
    assert leftovers() == {"upload_parts": 0, "dataset_files": 30, "blobs": 30, "objects": 30}


def test_an_expired_upload_is_closed(uploader: Uploader, app_database: Database, tenant: Tenant) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    with app_database.unit_of_work(tenant.scope) as session:
        session.execute(update(Upload).where(Upload.id == upload["id"]).values(expires_at=upload["created_at"]))
    answer = uploader.put(upload, 1, data)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_not_open")
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"size_bytes": 0},
        {"size_bytes": "many"},
        {"size_bytes": 1 << 60},
        {"sha256": "abc"},
        {"sha256": "G" * 64},
        {"part_size_bytes": 1},
        {"part_size_bytes": 1 << 40},
        {"size_bytes": 1 << 30, "part_size_bytes": 1024},
        {"file_name": "../etc/passwd"},
        {"file_name": ""},
        {"label": "a/b"},
        {"label": "."},
        {"unknown": 1},
    ],
)
def test_bad_requests_are_refused(uploader: Uploader, changes: dict[str, Any]) -> None:
    body = {"file_name": "a.zip", "size_bytes": 10, "sha256": "0" * 64} | changes
    answer = uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/uploads", json=body)
    assert (answer.status_code, answer.json()["status"]) == (422, 422), answer.text


def test_a_stranger_a_viewer_and_nobody_get_nowhere(
    uploader: Uploader, make_client: Clients, make_tenant: Callable[[], Tenant], tenant: Tenant
) -> None:
    data = archive(digits())
    upload = uploader.open(data)
    address = f"/api/v1/uploads/{upload['id']}"
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", f"/api/v1/datasets/{uploader.dataset_id}/uploads", {"json": _opening(data)}),
        ("PUT", f"{address}/parts/1", {"content": data[:1024]}),
        ("POST", f"{address}/complete", {}),
        ("DELETE", address, {}),
        ("GET", address, {}),
    ]
    stranger, viewer, nobody = make_client(make_tenant()), make_client(tenant, "viewer"), make_client()
    for method, url, body in calls:
        assert stranger.request(method, url, **body).status_code == 404, url
        assert viewer.request(method, url, **body).status_code == (200 if method == "GET" else 403), url
        assert nobody.request(method, url, **body).status_code == 401, url
    assert uploader.client.get(f"/api/v1/uploads/{new_id()}").json()["code"] == "upload_not_found"
    assert uploader.client.get("/api/v1/uploads/nonsense").status_code == 422


def _opening(data: bytes) -> dict[str, Any]:
    return {"file_name": "a.zip", "size_bytes": len(data), "sha256": sha256(data)}
