"""Each error code has a request that causes it; each is answered as it is documented; no code is without a cause."""

import asyncio
import json
import re
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx2 import Response
from starlette.types import Message

from backend.app import ROUTERS
from backend.core.openapi import all_errors, api_routes, declared
from backend.core.problems import CODES
from docs.generators import errors as page
from tests.catalogue.catalogue import CAUSES
from tests.catalogue.cause import Call, Cause
from tests.catalogue.files import FILES
from tests.catalogue.stages import STAGES, House, Scene

pytestmark = pytest.mark.integration
PROBLEM = {"type": str, "title": str, "status": int, "detail": str, "code": str, "hint": str}
NO_ROUTE = {"not_found", "method_not_allowed"}
"""Answered where no route is."""


def filled(value: Any, ids: dict[str, str]) -> Any:
    """With the ids in place of their names."""
    if isinstance(value, str):
        return re.sub(r"{(\w+)}", lambda found: ids.get(found[1], found[0]), value)
    if isinstance(value, dict):
        return {key: filled(each, ids) for key, each in value.items()}
    return [filled(each, ids) for each in value] if isinstance(value, list) else value


def send(house: House, scene: Scene, cause: Cause, call: Call, ids: dict[str, str]) -> Response:
    client = house.client(cause.caller, scene.app)
    content: dict[str, Any] = {"json": filled(call.json, ids)} if call.json is not None else {}
    headers = {name: filled(value, ids) for name, value in call.headers.items()}
    if call.text is not None:
        content = {"content": filled(call.text, ids)}
        headers = {"Content-Type": "application/json"} | headers
    if call.file is not None:
        content = {"content": FILES[call.file]}
    path = filled(call.path, ids)
    if call.breaks_off:
        return asyncio.run(break_off(scene.app, call.method, path, house.tokens[cause.caller], content["content"]))
    return client.request(call.method, path, headers=headers, **content)


async def break_off(app: FastAPI, method: str, path: str, token: str, content: bytes) -> Response:
    """Half of the body, then nobody is there any more; what the application would have said."""
    messages: list[Message] = [
        {"type": "http.request", "body": content[: len(content) // 2], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def answer(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode())]
    where = {"path": path, "query_string": b"", "headers": headers, "client": ("test", 1)}
    await app({"type": "http", "method": method, **where}, receive, answer)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


@pytest.mark.parametrize("cause", CAUSES, ids=[cause.name for cause in CAUSES])
def test_the_request_causes_the_error(house: House, cause: Cause) -> None:
    with STAGES[cause.stage](house) as scene:
        ids = house.ids | {"key": f"key-{uuid4()}"} | scene.ids
        for call in cause.before:
            answer = send(house, scene, cause, call, ids)
            assert answer.is_success, answer.text
            ids |= {name: answer.json()[field] for name, field in call.saves.items()}
        answer = send(house, scene, cause, cause.call, ids)
    kind = next(error for error in all_errors() if error.code == cause.code)
    found = answer.json()
    assert (answer.status_code, found["code"]) == (kind.status, cause.code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: type(found.get(name)) for name in PROBLEM} == PROBLEM
    assert (found["status"], found["title"]) == (kind.status, kind.title)
    assert all(found[name].strip() for name in ("detail", "hint"))
    assert "WWW-Authenticate" in answer.headers or kind.status != 401
    assert "Retry-After" in answer.headers or kind.status not in {429, 503} or cause.code == "schema_unknown"
    if cause.code not in NO_ROUTE:
        assert cause.code in declared(route_of(cause.call))[kind.status][CODES]


def route_of(call: Call) -> APIRoute:
    """The route that answers a call."""
    import importlib

    path = re.sub(r"{\w+}", "x", call.path.partition("?")[0])
    routers = [importlib.import_module(name).router for name in ROUTERS]
    return next(
        route
        for route in api_routes(routers)
        if call.method in (route.methods or ()) and route.path_regex.fullmatch(path)
    )


@pytest.mark.unit
def test_every_code_has_a_cause() -> None:
    page.import_everything()
    ours = {error.code for error in all_errors() if error.__module__.startswith("backend.")}
    assert ours == {cause.code for cause in CAUSES}


@pytest.mark.unit
def test_every_declared_code_exists_and_no_cause_is_told_twice() -> None:
    assert len({json.dumps([*page.described(cause), cause.stage]) for cause in CAUSES}) == len(CAUSES)
    assert {cause.stage for cause in CAUSES} == set(STAGES)


@pytest.mark.unit
def test_the_page_is_current() -> None:
    assert page.PAGE.read_text() == page.render(), "run `python -m docs.generators.errors`"
