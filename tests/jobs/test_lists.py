"""Jobs are listed in pages, newest first, and narrowed by filters."""

from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from backend.jobs.api import JobStatus
from backend.jobs.states import ALL
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE

pytestmark = pytest.mark.integration
URL = "/api/v1/jobs"


@pytest.fixture
def ids(client: TestClient, tenant: Tenant, ready_instance: Any) -> list[str]:
    """Five queued jobs, oldest first."""
    ready_instance(tenant)
    made = []
    for number in range(5):
        body = {"project_id": str(tenant.project_id), "name": f"nap-{number}", "instance_type": SHAPE}
        answer = client.post("/api/v1/sleep-jobs", json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
    return made


def test_pages_hold_every_job_once_newest_first(client: TestClient, ids: list[str]) -> None:
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get(URL, params=query).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]


def test_filters_narrow_the_list(client: TestClient, ids: list[str]) -> None:
    assert client.post(f"{URL}/{ids[0]}/stop").status_code == 202

    def found(**query: str) -> set[str]:
        return {item["id"] for item in client.get(URL, params=query).json()["items"]}

    assert found(name="nap-3") == {ids[3]}
    assert found(kind="sleep", status="queued") == set(ids), "a stop is an intent until the controller acts"
    assert found(kind="training") == found(status="failed") == set()


def test_a_search_goes_on_where_it_stopped_looking(
    client: TestClient, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.jobs.repository.LOOKED_AT", 2)
    page = client.get(URL, params={"name": "ap-0"}).json()
    looked = [[item["id"] for item in page["items"]]]
    while page["next_cursor"]:
        page = client.get(URL, params={"name": "ap-0", "cursor": page["next_cursor"]}).json()
        looked.append([item["id"] for item in page["items"]])
    assert looked == [[], [], [ids[0]]]
    short = client.get(URL, params={"name": "nap", "limit": 1}).json()
    assert [item["id"] for item in short["items"]] == [ids[4]]
    assert client.get(URL, params={"name": "nobody"}).json()["next_cursor"]


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "cursor=made-up", "project_id=x", "name=%00"])
def test_bad_parameters_are_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"{URL}?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_filter_knows_every_status() -> None:
    assert set(get_args(JobStatus)) == set(ALL)
