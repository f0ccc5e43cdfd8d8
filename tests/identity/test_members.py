"""Members over the real API."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.fixtures.database import Tenant
from tests.identity.conftest import OWN_PAGE, PASSWORD, Person

pytestmark = pytest.mark.integration
Clients = Callable[..., TestClient]
MakePerson = Callable[..., Person]
Browser = Callable[[Person], TestClient]
URL = "/api/v1/members"


def newcomer(role: str = "developer") -> dict[str, str]:
    return {"email": f"new-{uuid4()}@example.org", "full_name": "New Comer", "role": role}


def log_in(app: FastAPI, email: str, password: str) -> TestClient:
    client = TestClient(app, headers=OWN_PAGE, raise_server_exceptions=False)
    assert client.post("/api/v1/session", json={"email": email, "password": password}).status_code == 201
    return client


def test_a_member_is_added_logs_in_is_changed_and_removed(app: FastAPI, client: TestClient) -> None:
    body = newcomer()
    made = client.post(URL, json=body)
    assert made.status_code == 201, made.text
    member = made.json()
    password = member.pop("initial_password")
    assert client.get(f"{URL}/{member['user_id']}").json() == member
    assert client.get(URL).json()["items"] == [member]
    browser = log_in(app, body["email"], password)
    assert browser.post("/api/v1/projects", json={"name": "theirs"}).status_code == 201
    key = browser.post("/api/v1/api-keys", json={"name": "robot"}).json()
    robot = TestClient(app, headers={"Authorization": f"Bearer {key['token']}"})
    changed = client.patch(f"{URL}/{member['user_id']}", json={"role": "viewer"})
    assert changed.json() == member | {"role": "viewer"}
    assert browser.post("/api/v1/projects", json={"name": "more"}).status_code == 403
    assert robot.get("/api/v1/me").status_code == 401
    assert client.delete(f"{URL}/{member['user_id']}").status_code == 204
    assert browser.get("/api/v1/me").status_code == 401
    assert client.get(f"{URL}/{member['user_id']}").json()["code"] == "member_not_found"


def test_a_removed_member_comes_back_with_another_password(app: FastAPI, client: TestClient) -> None:
    body = newcomer()
    first = client.post(URL, json=body).json()
    browser = log_in(app, body["email"], first["initial_password"])
    client.delete(f"{URL}/{first['user_id']}")
    again = client.post(URL, json=body | {"full_name": "Come Back"}).json()
    assert again["user_id"] == first["user_id"]
    assert again["full_name"] == "Come Back"
    assert browser.get("/api/v1/me").status_code == 401
    old = {"email": body["email"], "password": first["initial_password"]}
    assert browser.post("/api/v1/session", json=old).status_code == 401
    log_in(app, body["email"], again["initial_password"])


def test_an_address_is_a_member_once_and_of_one_place(make_client: Clients, make_tenant: Callable[[], Tenant]) -> None:
    mine, stranger = make_client(make_tenant()), make_client(make_tenant())
    body = newcomer()
    assert mine.post(URL, json=body).status_code == 201
    again = mine.post(URL, json=body | {"email": body["email"].upper()})
    assert (again.status_code, again.json()["code"]) == (409, "already_member")
    taken = stranger.post(URL, json=body)
    assert (taken.status_code, taken.json()["code"]) == (409, "email_taken")
    assert stranger.get(URL).json()["items"] == []


@pytest.mark.parametrize(
    ("own", "role", "status"),
    [
        ("owner", "owner", 201),
        ("admin", "owner", 403),
        ("admin", "admin", 201),
        ("developer", "viewer", 403),
        ("viewer", "viewer", 403),
        ("billing", "billing", 403),
    ],
)
def test_who_may_add_whom(make_client: Clients, tenant: Tenant, own: str, role: str, status: int) -> None:
    assert make_client(tenant, own).post(URL, json=newcomer(role)).status_code == status


def test_an_admin_cannot_touch_an_owner(make_client: Clients, tenant: Tenant, make_person: MakePerson) -> None:
    owner, admin = make_person(tenant), make_client(tenant, "admin")
    make_person(tenant)
    assert admin.patch(f"{URL}/{owner.user_id}", json={"role": "viewer"}).json()["code"] == "role_exceeds_yours"
    assert admin.delete(f"{URL}/{owner.user_id}").json()["code"] == "role_exceeds_yours"


def test_the_last_owner_stays(client: TestClient, tenant: Tenant, make_person: MakePerson) -> None:
    owner = make_person(tenant)
    address = f"{URL}/{owner.user_id}"
    for answer in (client.delete(address), client.patch(address, json={"role": "admin"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert client.patch(address, json={"role": "owner"}).status_code == 200
    second = make_person(tenant)
    assert client.delete(address).status_code == 204
    assert client.delete(f"{URL}/{second.user_id}").json()["code"] == "last_owner"


def test_two_owners_removing_each_other_leave_one(tenant: Tenant, make_person: MakePerson, browser: Browser) -> None:
    people = [make_person(tenant), make_person(tenant)]
    browsers = [browser(person) for person in people]
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda pair: pair[0].delete(f"{URL}/{pair[1].user_id}"),
                zip(browsers, reversed(people), strict=True),
            )
        )
    assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 409])


def test_another_organization_sees_no_member(
    make_client: Clients, make_tenant: Callable[[], Tenant], make_person: MakePerson
) -> None:
    mine, other = make_tenant(), make_tenant()
    person, stranger = make_person(mine), make_client(other)
    address = f"{URL}/{person.user_id}"
    for answer in (
        stranger.get(address),
        stranger.patch(address, json={"role": "viewer"}),
        stranger.delete(address),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "member_not_found")
    assert person.email not in stranger.get(URL).text


@pytest.mark.parametrize(
    "change",
    [
        {"email": "nobody"},
        {"email": "a b@c"},
        {"email": "a\x00@b"},
        {"email": "@"},
        {"email": "a@" + "b" * 300},
        {"role": "root"},
        {"role": None},
        {"full_name": ""},
        {"full_name": "a\x00"},
        {"password": "mine"},
    ],
)
def test_what_cannot_be_a_member_is_refused(client: TestClient, change: dict[str, Any]) -> None:
    assert client.post(URL, json=newcomer() | change).status_code == 422


def test_members_page(client: TestClient, tenant: Tenant, make_person: MakePerson) -> None:
    people = [str(make_person(tenant).user_id) for _ in range(3)]
    first = client.get(URL, params={"limit": 2}).json()
    second = client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["user_id"] for item in first["items"] + second["items"]] == people
    assert PASSWORD not in client.get(URL).text
