"""Projects over the REST API, on the real database."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
URL = "/api/v1/projects"


def test_a_project_is_created_read_changed_and_deleted(client: TestClient) -> None:
    created = client.post(URL, json={"name": "vision", "description": "digits", "tags": {"team": "a"}})
    assert created.status_code == 201, created.text
    project = created.json()
    assert project["name"] == "vision"
    assert project["tags"] == {"team": "a"}
    assert project["created_at"].endswith("Z")
    address = f"{URL}/{project['id']}"
    assert client.get(address).json() == project
    changed = client.patch(address, json={"description": "letters"}).json()
    assert changed == project | {"description": "letters"}
    assert client.patch(address, json={"tags": {}}).json()["tags"] == {}
    assert client.delete(address).status_code == 204
    assert client.get(address).json()["code"] == "project_not_found"


def test_a_name_is_unique_per_organization(make_client: Clients, make_tenant: Callable[[], Tenant]) -> None:
    mine, other = make_client(make_tenant()), make_client(make_tenant())
    assert mine.post(URL, json={"name": "vision"}).status_code == 201
    again = mine.post(URL, json={"name": "vision"})
    assert (again.status_code, again.json()["code"]) == (409, "project_name_taken")
    assert other.post(URL, json={"name": "vision"}).status_code == 201


def test_pages_hold_every_project_once_newest_first(client: TestClient) -> None:
    made = [client.post(URL, json={"name": f"p-{number}"}).json()["name"] for number in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        page = client.get(URL, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["name"] for item in page["items"]]
        assert len(page["items"]) <= 2
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [*reversed(made), "digits"]
    assert client.get(URL, params={"name": "p-3"}).json()["items"][0]["name"] == "p-3"


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJ4Il0", "bnVsbA", "é", "A" * 2000, "WzFd"])
def test_a_made_up_cursor_is_refused(client: TestClient, cursor: str) -> None:
    answer = client.get(URL, params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["code"] in {"invalid_cursor", "invalid_request"}


def test_a_project_with_something_in_it_says_what(
    client: TestClient, tenant: Tenant, add_job: Callable[[Tenant], None]
) -> None:
    add_job(tenant)
    answer = client.delete(f"{URL}/{tenant.project_id}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "project_not_empty"
    assert answer.json()["contents"] == {"jobs": 1}
    assert client.get(f"{URL}/{tenant.project_id}").status_code == 200


def test_another_organization_sees_nothing_of_it(make_client: Clients, make_tenant: Callable[[], Tenant]) -> None:
    mine, other = make_tenant(), make_tenant()
    stranger = make_client(other)
    address = f"{URL}/{mine.project_id}"
    for answer in (
        stranger.get(address),
        stranger.patch(address, json={"description": "mine now"}),
        stranger.delete(address),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "project_not_found")
    absent = stranger.get(f"{URL}/{uuid4()}")
    assert absent.json().keys() == stranger.get(address).json().keys()
    assert [item["id"] for item in stranger.get(URL).json()["items"]] == [str(other.project_id)]


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("billing", 403), ("developer", 201), ("admin", 201)])
def test_what_roles_may(make_client: Clients, tenant: Tenant, role: str, status: int) -> None:
    caller = make_client(tenant, role)
    assert caller.get(URL).status_code == 200
    assert caller.post(URL, json={"name": "new"}).status_code == status


def test_scopes_narrow_a_role(make_client: Clients, tenant: Tenant) -> None:
    caller = make_client(tenant, "owner", scopes=["read"])
    assert caller.get(URL).status_code == 200
    assert caller.post(URL, json={"name": "new"}).json()["code"] == "forbidden"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": 3},
        {"name": None},
        {"name": "a b"},
        {"name": "-a"},
        {"name": "a" * 64},
        {"name": "a\u0000b"},
        {"name": "ok", "description": "a\u0000b"},
        {"name": "ok", "description": "x" * 4001},
        {"name": "ok", "tags": {"a\u0000": "b"}},
        {"name": "ok", "tags": {"": "b"}},
        {"name": "ok", "tags": {"a": 1}},
        {"name": "ok", "tags": {str(number): "" for number in range(51)}},
        {"name": "ok", "unknown": 1},
        [],
        "name",
        None,
    ],
)
def test_what_cannot_be_a_project_is_refused(client: TestClient, body: object) -> None:
    answer = client.post(URL, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
