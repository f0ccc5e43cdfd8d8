"""Lists as every page has them: order and filters in the address, and acts on chosen rows with a result for each."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from frontend.lists import Listing
from tests.datasets.files import Uploader
from tests.frontend.conftest import Member
from tests.frontend.rooms import Visitor

pytestmark = pytest.mark.integration


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def visitor(app: FastAPI, member: Member) -> Visitor:
    return Visitor(app, member)


@pytest.fixture
def client(make_client: Callable[..., TestClient], member: Member) -> TestClient:
    return make_client(member.tenant)


def make_dataset(client: TestClient, member: Member, name: str) -> str:
    body = {"project_id": str(member.tenant.project_id), "name": name, "kind": "tabular"}
    answer = client.post("/api/v1/datasets", json=body)
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


def table_of(visitor: Visitor, address: str) -> str:
    """The list alone: the shell names projects too."""
    answer = visitor.get(address, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    text: str = answer.text
    return text


def test_an_address_keeps_filters_and_order_and_drops_the_place() -> None:
    here = Listing(path="/data", filters={"text": "a b", "kind": ""}, sort="name", cursor="xyz", usual="-created_at")
    assert here.address() == "/data?text=a+b&sort=name&cursor=xyz"
    assert here.address(kind="text") == "/data?text=a+b&kind=text&sort=name"
    assert here.turned("name") == "/data?text=a+b&sort=-name"
    assert here.turned("created_at") == "/data?text=a+b&sort=created_at"
    assert here.address(sort="-created_at") == "/data?text=a+b"
    assert here.filtered


def test_projects_are_ordered_by_name_over_pages(visitor: Visitor, client: TestClient) -> None:
    names = [f"project-{number:03}" for number in range(55)]
    for name in reversed(names):
        assert client.post("/api/v1/projects", json={"name": name}).status_code == 201
    first = table_of(visitor, "/projects?sort=name&text=project-")
    assert first.index("project-000") < first.index("project-001")
    assert "project-054" not in first
    older = unescape(re.findall(r'href="(/projects\?[^"]*cursor=[^"]*)"', first)[-1])
    assert "sort=name" in older
    second = table_of(visitor, older)
    assert "project-054" in second
    assert "project-000" not in second
    assert "project-054" in table_of(visitor, "/projects?sort=-name&text=project-")
    crossed = visitor.get(older.replace("sort=name", "sort=created_at"))
    assert crossed.status_code == 422
    assert visitor.get("/projects?sort=nonsense").status_code == 200


def test_chosen_datasets_are_deleted_and_each_says_what_became_of_it(
    visitor: Visitor, client: TestClient, member: Member
) -> None:
    gone, stays = make_dataset(client, member, "goes"), make_dataset(client, member, "stays")
    uploader = Uploader(client, stays)
    uploader.send(b"a,b\n1,2\n3,4\n5,6\n7,8\n", file_name="few.csv")
    assert client.post(f"/api/v1/datasets/{stays}/versions", json={}).status_code == 201
    page = visitor.page("/data")
    assert 'data-name="goes"' in page
    chosen = {"chosen": [gone, stays], "csrf_token": visitor.token}
    refused = visitor.client.post("/data/delete", data={**chosen, "typed": "1"})
    assert refused.status_code == 422
    assert "type how many rows" in refused.text
    done = visitor.client.post("/data/delete", data={**chosen, "typed": "2"}, headers={"HX-Request": "true"})
    assert done.status_code == 200
    assert done.headers["HX-Trigger"] == "rows-changed"
    assert "1 of 2 done" in done.text
    assert "It was deleted." in done.text
    listed = visitor.page("/data")
    assert 'data-name="goes"' not in listed
    assert 'data-name="stays"' in listed


def test_chosen_rows_of_others_are_not_there_and_viewers_act_on_none(
    app: FastAPI, client: TestClient, member: Member, make_member: Callable[..., Member]
) -> None:
    dataset = make_dataset(client, member, "mine")
    stranger = Visitor(app, make_member())
    viewer = Visitor(app, make_member("viewer"))
    for path in ("/data/delete", "/settings/keys/revoke", "/endpoints/delete", "/settings/webhooks/deliveries/replay"):
        assert stranger.send(path, {"chosen": dataset, "typed": "1"}).status_code == 404, path
        assert viewer.send(path, {"chosen": dataset, "typed": "1"}).status_code == 403, path
    assert stranger.send("/admin/jobs/stop", {"chosen": dataset}).status_code == 404
    assert client.get(f"/api/v1/datasets/{dataset}").status_code == 200


def test_chosen_keys_are_revoked_found_by_name_and_members_by_address(
    visitor: Visitor, client: TestClient, member: Member
) -> None:
    made = [client.post("/api/v1/api-keys", json={"name": name}).json()["id"] for name in ("website", "robot")]
    assert "robot" not in visitor.page("/settings/keys?text=WEB")
    assert "No key matches" in visitor.page("/settings/keys?text=nothing")
    fields = {"chosen": made, "typed": "2", "csrf_token": visitor.token}
    assert "2 of 2 done" in visitor.client.post("/settings/keys/revoke", data=fields).text
    assert 'data-name="website"' not in visitor.page("/settings/keys?revoked=yes")
    assert member.email in visitor.page(f"/settings/members?text={member.email[:12]}")
    assert "No member matches" in visitor.page("/settings/members?text=nobody")


def test_uploads_that_wait_are_given_up_together(visitor: Visitor, client: TestClient, member: Member) -> None:
    dataset = make_dataset(client, member, "waiting")
    body = {"file_name": "later.csv", "size_bytes": 10, "sha256": "0" * 64}
    made = client.post(f"/api/v1/datasets/{dataset}/uploads", json=body)
    assert made.status_code == 201, made.text
    page = visitor.page(f"/data/{dataset}/uploads?status=open")
    assert 'data-name="later.csv"' in page
    answer = visitor.send(f"/data/{dataset}/uploads/discard", {"chosen": made.json()["id"]})
    assert "1 of 1 done" in answer.text
    assert "No upload matches" in visitor.page(f"/data/{dataset}/uploads?status=open")
