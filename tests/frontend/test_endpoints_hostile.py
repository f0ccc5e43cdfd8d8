"""Garbage in every address and form of the endpoints' room."""

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from frontend.pages import endpointchanges, endpointnew, endpoints, playground
from tests.endpoints.conftest import World, control_context, make_world  # noqa: F401 - fixtures
from tests.frontend.conftest import Member
from tests.frontend.test_dashboard import enter
from tests.frontend.test_endpoints import made, member, token, visitor, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.integration
ROUTERS = [each.router for each in (endpointnew, endpointchanges, endpoints, playground)]
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
GARBAGE: list[dict[str, str]] = [
    {},
    {"text": "\x00", "status": "none", "cursor": "%%%", "at": "x", "period": "no", "project": "x", "version": "x"},
    {"text": "x" * 300, "at": "x" * 99, "cursor": "x" * 3000, "less": "99", "more": "true", "seen": "x"},
    {
        "seen": "9" * 40,
        "variants.0.weight": "1e999",
        "variants.x.name": "a",
        "variants.0": "b",
        "body": "\x00",
        "typed": "\x00",
    },
    {
        "body": "[" * 3000,
        "variant": "\r\n",
        "sticky_key": "\u00e9",
        "replica_count": "NaN",
        "tags:lines": "x",
        "less": "0",
    },
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_never_our_fault(
    visitor: TestClient, member: Member, world: World, garbage: dict[str, str]  # noqa: F811 - fixtures
) -> None:  # fmt: skip
    enter(visitor, member)
    endpoint = made(visitor, world)
    sent = {"csrf_token": token(visitor), **garbage}
    assert len(ROUTES) >= 15
    found = {}
    for route in ROUTES:
        for id_ in (str(endpoint), "x", "%00"):
            address = route.path.replace("{endpoint_id}", id_).replace("{picture}", "split")
            for asks in ({}, {"HX-Request": "true"}):
                for method in route.methods or ():
                    data = sent if method == "POST" else None
                    answer = visitor.request(method, address, params=garbage, headers=asks, data=data)
                    if answer.status_code >= 500:
                        found[method, address] = answer.text[:200]
    assert found == {}
