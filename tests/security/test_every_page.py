"""Every page of the dashboard, found in its routes: nobody, strangers, other sites, and garbage in every form."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from frontend.app import ROOMS
from frontend.pages.common import get_viewer, require_csrf
from tests.frontend.conftest import (  # noqa: F401 - fixtures
    PASSWORD,
    Member,
    backstage,
    cheap_security,
    make_job,
    make_member,
    services,
    site,
    storage,
)
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
PUBLIC = {
    "GET /login": "who logs in is nobody yet",
    "POST /login": "who logs in is nobody yet",
    "POST /logout": "ends the session of the cookie, whatever that is",
    "POST /language": "a visitor's choice",
}
ROUTES = [route for room in ROOMS for route in room.routes if isinstance(route, APIRoute)]
CASES = [(method, route) for route in ROUTES for method in sorted(route.methods or ())]


def address_of(route: APIRoute, value: object) -> str:
    """Its address with one value for every parameter."""
    return re.sub(r"{\w+(:path)?}", str(value), route.path)


def incomplete(route: APIRoute) -> bool:
    """Whether it needs more than its address and a token, so that a request without is refused before it is read."""
    given = [*route.dependant.query_params, *route.dependant.body_params]
    return any(one.field_info.is_required() for one in given)


def called(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for each in dependant.dependencies:
        yield from called(each)


def name(method: str, route: APIRoute) -> str:
    return f"{method} {route.path}"


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:  # noqa: F811 - a fixture
    with TestClient(site, headers={"Accept": "text/html"}, follow_redirects=False) as client:
        yield client


def enter(visitor: TestClient, member: Member) -> str:
    form = parse(visitor.get("/login").text).fields
    assert visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD}).status_code == 303
    token: str = parse(visitor.get("/training").text).fields["csrf_token"]
    return token


def test_pages_without_a_viewer_are_named_and_every_form_is_from_our_page() -> None:
    open_ones = {name(method, route) for method, route in CASES if get_viewer not in called(route.dependant)}
    assert open_ones == set(PUBLIC)
    changing = [(method, route) for method, route in CASES if method not in {"GET", "HEAD"}]
    assert [name(*case) for case in changing if require_csrf not in called(case[1].dependant)] == []


@pytest.mark.parametrize(("method", "route"), CASES, ids=[name(*case) for case in CASES])
def test_nobody_sees_a_page(visitor: TestClient, method: str, route: APIRoute) -> None:
    if name(method, route) in PUBLIC:
        return
    address = address_of(route, uuid4())
    answer = visitor.request(method, address)
    assert answer.status_code in ({303} if method == "GET" else {303, 403})
    assert answer.status_code == 403 or answer.headers["Location"].startswith("/login")


def test_a_stranger_sees_no_page_of_anothers_job(
    visitor: TestClient,
    make_member: Callable[..., Member],  # noqa: F811 - a fixture
    make_job: Callable[..., UUID],  # noqa: F811 - a fixture
) -> None:
    victim = make_member()
    job_id = make_job(victim.tenant, "secret-job")
    token = enter(visitor, make_member())
    for method, route in CASES:
        answer = visitor.request(method, address_of(route, job_id), data={"csrf_token": token})
        if "_id}" in route.path:
            assert answer.status_code in ({404, 422} if incomplete(route) else {404}), name(method, route)
        assert "secret-job" not in answer.text, name(method, route)
        if "logout" in route.path:
            token = enter(visitor, make_member())


GARBAGE: list[dict[str, Any]] = [
    {},
    {"text": "\x00", "status": "none", "cursor": "%%%", "after": "x", "version": "\ud800", "next": "//x", "page": "-1"},
    {"text": "x" * 5000, "status": "x" * 500, "cursor": "x" * 3000, "after": "x" * 3000, "language": "x" * 999},
    {
        "name": "\x00",
        "tags:lines": "=\x00",
        "hyperparameters": "x",
        "hyperparameters.epochs": "nan",
        "a.b.c.d.e.f.g": "1",
    },
    {"x:json": "{" * 5000, "job": "x", "from": "x", "name": "x", "dataset_version_id": "\ud800", "amount": "1e400"},
    {"email": "\x00", "password": "\x00", "language": "../../etc", "next": "\r\n", "job_id": "x", "limit": "1e99"},
]


ASKS = [{}, {"HX-Request": "true"}, {"Accept": "application/json"}, {}, {}, {}]


@pytest.mark.parametrize(
    ("garbage", "asks"), [*zip(GARBAGE, ASKS, strict=True)], ids=["empty", "odd", "long", "fields", "shapes", "hostile"]
)
def test_garbage_is_never_our_fault(
    visitor: TestClient,
    make_member: Callable[..., Member],  # noqa: F811 - a fixture
    garbage: dict[str, Any],
    asks: dict[str, str],
) -> None:
    member = make_member()
    token = enter(visitor, member)
    wrong = {}
    said = {key: value.encode("utf-8", "surrogatepass") for key, value in garbage.items()}
    for method, route in CASES:
        for job_id in ("x", "%00", str(uuid4()), "\u00e9", "a" * 2000):
            address = address_of(route, job_id)
            if method == "GET":
                answer = visitor.get(address, params=said, headers=asks)
            else:
                answer = visitor.request(method, address, data={"csrf_token": token, **said}, headers=asks)
            if answer.status_code >= 500:
                wrong[name(method, route), job_id] = answer.status_code
            if "logout" in route.path or "login" in route.path:
                token = enter(visitor, member) if not visitor.cookies.get("modelyard_session") else token
            if "{" not in route.path:
                break
    assert wrong == {}
