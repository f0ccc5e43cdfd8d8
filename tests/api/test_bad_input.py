"""Whatever a client sends, the answer is a problem document with a 4xx, never a 5xx."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from backend.app import create_app
from backend.core.settings import ApiSettings, Settings

pytestmark = pytest.mark.integration
URL = "/api/v1/projects"
JSON = {"Content-Type": "application/json"}


def problem(answer: Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "code"} <= body.keys()
    assert body["status"] == answer.status_code
    return body["status"], body["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"name": "a"',
        b'{"name": "a\\u0000b"}',
        b'{"name": "\\ud800"}',
        b'{"\\ud800": 1, "name": "a"}',
        b'{"name": "ok", "tags": {"\\ud800": "x"}}',
        b'{"name": "ok", "description": "\\ud800"}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": NaN}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b"null",
        b'{"name": "a", "name": {"b": []}}',
    ],
)
@pytest.mark.parametrize("keyed", [False, True])
def test_a_body_that_means_nothing(client: TestClient, body: bytes, keyed: bool) -> None:  # noqa: FBT001 - parametrized
    headers = JSON | ({"Idempotency-Key": str(hash(body))} if keyed else {})
    assert problem(client.post(URL, content=body, headers=headers))[0] == 422


def test_a_body_of_another_type(client: TestClient) -> None:
    answer = client.post(URL, content=b'{"name": "a"}', headers={"Content-Type": "text/plain"})
    assert problem(answer)[0] == 422
    answer = client.post(URL, data={"name": "a"})
    assert problem(answer)[0] == 422


@pytest.mark.parametrize(
    "item", ["x", "0", "%00", "..", "a" * 5000, "00000000-0000-0000-0000-00000000000g", "%ff", "é"]
)
@pytest.mark.parametrize("collection", ["projects", "api-keys", "members"])
def test_an_id_that_is_none(client: TestClient, collection: str, item: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        status, _ = problem(client.request(method, f"/api/v1/{collection}/{item}", json={"role": "viewer"}))
        assert status in {404, 405, 422}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=" + "9" * 5000,
        "limit=-1",
        "limit=1.5",
        "limit=NaN",
        "cursor=%00",
        "cursor=%ff%fe",
        "name=%00",
        "name=" + "x" * 64,
    ],
)
def test_a_query_that_means_nothing(client: TestClient, query: str) -> None:
    assert problem(client.get(f"{URL}?{query}"))[0] == 422


def test_a_cursor_beyond_the_types_of_the_database(client: TestClient) -> None:
    import base64
    import json

    for values in (["0001-01-01T00:00:00+23:59", "x"], [10**40], [True], [{"a": 1}], ["a\x00"], [None]):
        cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        for path in (URL, "/api/v1/api-keys", "/api/v1/members", "/api/v1/audit-events"):
            assert problem(client.get(path, params={"cursor": cursor})) == (422, "invalid_cursor")
    for extreme in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        values = [extreme, "00000000-0000-0000-0000-000000000000"]
        cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        assert client.get("/api/v1/api-keys", params={"cursor": cursor}).status_code in {200, 422}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/nothing", (404, "not_found")),
        ("PUT", "/api/v1/projects", (405, "method_not_allowed")),
        ("POST", "/api/v1/me", (405, "method_not_allowed")),
    ],
)
def test_routes_that_are_not_there(client: TestClient, method: str, path: str, expected: tuple[int, str]) -> None:
    assert problem(client.request(method, path)) == expected


@pytest.mark.parametrize(
    "value",
    ["Basic abc", "Bearer", "Bearer ", "Bearer " + "x" * 5000, "my_token", "Bearer my_unknown", "Bearer \xff"],
)
def test_a_credential_that_does_not_count(app: FastAPI, value: str) -> None:
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.get("/api/v1/me", headers={b"Authorization": value.encode("latin-1")})
    assert problem(answer) == (401, "unauthorized")


@pytest.mark.parametrize("cookie", ["", "x", "mys_unknown", "a" * 3000, '"\\000"'])
def test_a_session_that_does_not_count(app: FastAPI, cookie: str) -> None:
    client = TestClient(app, raise_server_exceptions=False, headers={"Cookie": f"modelyard_session={cookie}"})
    assert problem(client.get("/api/v1/me")) == (401, "unauthorized")


@pytest.fixture
def small(api_settings: Settings, client: TestClient) -> Iterator[TestClient]:
    settings = api_settings.model_copy(update={"api": ApiSettings(max_body_bytes=1000)})
    app = create_app(settings)
    yield TestClient(app, headers=dict(client.headers), raise_server_exceptions=False)
    app.state.database.dispose()


@pytest.mark.parametrize("keyed", [False, True])
def test_a_body_over_the_limit(small: TestClient, keyed: bool) -> None:  # noqa: FBT001 - parametrized
    headers = JSON | ({"Idempotency-Key": "large"} if keyed else {})
    large = b'{"name": "a", "description": "' + b"x" * 1000 + b'"}'
    assert problem(small.post(URL, content=large, headers=headers)) == (413, "too_large")

    def chunks() -> Iterator[bytes]:
        yield large[:500]
        yield large[500:]

    assert problem(small.post(URL, content=chunks(), headers=headers)) == (413, "too_large")
    assert small.post(URL, json={"name": "fits"}, headers=headers).status_code == 201
    for declared in ("1" * 5000, "-1", "x", "1001"):
        answer = small.post(URL, content=b"{}", headers=headers | {"Content-Length": declared})
        assert answer.status_code in {413, 422}


def test_part_uploads_have_a_limit_of_their_own(small: TestClient) -> None:
    answer = small.put("/api/v1/uploads/1/parts/1", content=b"x" * 2000)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    answer = small.put("/api/v1/uploads/1/parts", content=b"x" * 2000)
    assert answer.status_code == 413
