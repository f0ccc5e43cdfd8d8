"""Bodies and filters that name what is another's: every UUID field of every request, found in the document."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.tables import METADATA
from tests.security.estate import Estate, operations

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
MOVING = {"audit_events", "idempotency_keys", "api_uptime"}
Place = tuple[str | int, ...]


def uuid_fields(schema: dict[str, Any], document: dict[str, Any], place: Place = ()) -> Iterator[Place]:
    """Where a body has an id: keys from its root, 0 for any element of a list."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from uuid_fields(document["components"]["schemas"][name], document, place)
    if schema.get("format") == "uuid":
        yield place
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from uuid_fields(option, document, place)
    for name, each in schema.get("properties", {}).items():
        yield from uuid_fields(each, document, (*place, name))
    if "items" in schema:
        yield from uuid_fields(schema["items"], document, (*place, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from uuid_fields(schema["additionalProperties"], document, (*place, "any"))


def references(document: dict[str, Any]) -> list[tuple[str, str, Place]]:
    """Every (method, path, place) of an id in a body."""
    found = []
    for path, item in document["paths"].items():
        for method, described in item.items():
            for content in described.get("requestBody", {}).get("content", {}).values():
                places = dict.fromkeys(uuid_fields(content["schema"], document))
                found += [(method, path, place) for place in places]
    return found


def put_at(body: Any, place: Place, value: str) -> Any:
    """A copy of the body with the value at its place."""
    if not place:
        return value
    first, rest = place[0], place[1:]
    if isinstance(first, int):
        return [put_at(body[0], rest, value), *body[1:]]
    return {**body, first: put_at(body.get(first, {}), rest, value)}


def rows(database: Database) -> dict[str, int]:
    with database.unit_of_work() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in METADATA.tables.items()
            if name not in MOVING
        }


def test_no_body_can_name_what_is_anothers(
    app: FastAPI,
    make_estate: Callable[[], Estate],
    make_client: Callable[..., TestClient],
    controller_database: Database,
) -> None:
    mine, theirs = make_estate(), make_estate()
    me = make_client(mine.tenant)
    by_name = {(each.method, each.path): each for each in operations(app)}
    foreign = {*theirs.ids.values(), theirs.model_version_id, str(theirs.tenant.organization_id)} - {"1", "2026-01"}
    foreign = {value for value in foreign if len(value) == 36}
    found = references(app.openapi())
    assert len(found) > 10
    before, wrong = rows(controller_database), {}
    for method, path, place in found:
        operation = by_name[method, path]
        body = mine.body(operation)["json"]
        for value in sorted(foreign):
            answer = me.request(method, mine.url(operation), json=put_at(body, place, value))
            logging_in = operation.permission is None and answer.status_code in {401, 429}
            if answer.status_code not in {404, 422} and not logging_in:
                wrong[f"{operation.name} {place}"] = (answer.status_code, answer.text[:200])
    assert wrong == {}
    assert rows(controller_database) == before


def test_no_filter_can_name_what_is_anothers(
    app: FastAPI,
    make_estate: Callable[[], Estate],
    make_client: Callable[..., TestClient],
) -> None:
    mine, theirs = make_estate(), make_estate()
    me = make_client(mine.tenant)
    foreign = sorted({value for value in (*theirs.ids.values(), theirs.model_version_id) if len(value) == 36})
    asked, wrong = 0, {}
    for each in operations(app):
        listed = app.openapi()["paths"][each.path][each.method].get("parameters", ())
        ids = [one for one in listed if one["in"] == "query" and list(uuid_fields(one["schema"], app.openapi()))]
        for one in ids:
            for value in foreign:
                asked += 1
                answer = me.get(mine.url(each), params={one["name"]: value})
                said = answer.text.replace(value, "") if answer.is_success else ""
                if answer.status_code not in {200, 404} or any(other in said for other in foreign):
                    wrong[f"{each.name} {one['name']}"] = (answer.status_code, answer.text[:200])
                if answer.status_code == 200 and answer.json().get("items"):
                    wrong[f"{each.name} {one['name']}"] = (200, answer.text[:200])
    assert asked > 50
    assert wrong == {}


def test_every_object_lies_under_its_organization(
    app: FastAPI,
    make_estate: Callable[[], Estate],
) -> None:
    storage = app.state.storage
    before = set(storage.keys(""))
    made = [make_estate(), make_estate()]
    owners = {str(estate.tenant.organization_id) for estate in made}
    new = set(storage.keys("")) - before
    assert len(new) > 10
    assert [key for key in sorted(new) if len(owners & set(key.split("/"))) != 1] == []
