"""From dataset version to invoice line and back."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import event
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.ids import new_id
from backend.jobs.models import Checkpoint
from tests.fixtures.database import Tenant
from tests.lineage.chain import MONTH, SHAPE, Chain

pytestmark = pytest.mark.integration
PATH = "/api/v1/lineage"


@pytest.fixture
def chain(tenant: Tenant, controller_database: Database) -> Chain:
    return Chain(tenant, controller_database).build()


def walk(client: TestClient, kind: str, identity: object, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{kind}/{identity}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def names(found: dict[str, Any], chain: Chain) -> set[str]:
    """The short names of what was found; invoice lines by their variant, or as `line of a job`."""
    short = {str(id_): name for name, id_ in chain.ids.items()}
    lines = {
        node["id"]: f"line {node['id'].split('~')[4] or 'of a job'}"
        for node in found["nodes"]
        if node["kind"] == "invoice_line"
    }
    return {short.get(node["id"]) or lines[node["id"]] for node in found["nodes"]}


EVERYTHING = {
    "data", "training", "first", "step 50", "step 40", "step 30", "second", "fp32", "compression", "only", "int8",
    "variant fp32", "variant int8", "line fp32", "line int8", "line of a job",
}  # fmt: skip


def test_from_a_dataset_version_to_the_bill(client: TestClient, chain: Chain) -> None:
    found = walk(client, "dataset_version", chain.ids["data"])
    assert names(found, chain) == EVERYTHING
    assert found["root"]["name"] == "digits v1"
    assert found["root"]["href"] == f"/api/v1/dataset-versions/{chain.ids['data']}"
    edges = {(edge["source"], edge["target"]) for edge in found["edges"]}
    ids = {name: str(id_) for name, id_ in chain.ids.items()}
    assert (f"checkpoint:{ids['step 50']}", f"attempt:{ids['second']}") in edges
    assert (f"attempt:{ids['second']}", f"model_version:{ids['fp32']}") in edges
    assert (f"attempt:{ids['first']}", f"model_version:{ids['fp32']}") not in edges
    assert (f"model_version:{ids['fp32']}", f"job:{ids['compression']}") in edges
    assert found["truncated"] is True  # five checkpoints, of which three are shown
    assert [node["name"] for node in found["nodes"] if node["more"]] == ["attempt 1"]


def test_from_an_invoice_line_back_to_the_data(client: TestClient, chain: Chain) -> None:
    line = f"{MONTH}~endpoint~{chain.ids['endpoint']}~instance:{SHAPE}:on-demand~int8~0.001"
    found = walk(client, "invoice_line", line)
    assert names(found, chain) == {
        "line int8", "variant int8", "int8", "only", "compression", "fp32", "second", "step 50", "first", "training",
        "data",
    }  # fmt: skip
    assert found["root"]["detail"] == f"{MONTH}, 0.1 USD"
    assert min(node["level"] for node in found["nodes"]) <= -8
    assert not found["truncated"]


def test_only_ancestors_and_descendants_are_relatives(client: TestClient, chain: Chain) -> None:
    found = walk(client, "model_version", chain.ids["int8"])
    assert {"variant int8", "line int8", "fp32", "data"} <= names(found, chain)
    assert {"variant fp32", "line fp32", "line of a job"}.isdisjoint(names(found, chain))
    up = walk(client, "model_version", chain.ids["int8"], direction="up")
    assert all(node["level"] <= 0 for node in up["nodes"])
    down = walk(client, "model_version", chain.ids["int8"], direction="down")
    assert names(down, chain) == {"int8", "variant int8", "line int8"}


@pytest.mark.parametrize(
    ("kind", "name", "some"),
    [
        ("job", "training", {"data", "fp32", "line of a job"}),
        ("attempt", "second", {"step 50", "first", "training", "fp32"}),
        ("checkpoint", "step 50", {"first", "second", "fp32", "data"}),
        ("variant", "variant int8", {"int8", "line int8", "data"}),
        ("endpoint", "endpoint", {"variant fp32", "variant int8", "line int8", "data"}),
    ],
)
def test_every_kind_is_a_beginning(client: TestClient, chain: Chain, kind: str, name: str, some: set[str]) -> None:
    assert some <= names(walk(client, kind, chain.ids[name]), chain)


def test_an_endpoints_lines_are_seen_downwards_too(client: TestClient, chain: Chain) -> None:
    found = walk(client, "endpoint", chain.ids["endpoint"], direction="down")
    assert names(found, chain) == {"endpoint", "variant fp32", "variant int8", "line fp32", "line int8"}


def test_anothers_and_unknown_things_are_not_found(
    make_client: Callable[..., TestClient], make_tenant: Callable[[], Tenant], chain: Chain
) -> None:
    stranger = make_client(make_tenant())
    line = f"{MONTH}~endpoint~{chain.ids['endpoint']}~instance:{SHAPE}:on-demand~int8~0.001"
    named = {"dataset_version": "data", "job": "training", "attempt": "first", "checkpoint": "step 50",
             "model_version": "fp32", "variant": "variant int8", "endpoint": "endpoint"}  # fmt: skip
    for kind, identity in [(kind, chain.ids[name]) for kind, name in named.items()] + [("invoice_line", line)]:
        answer = stranger.get(f"{PATH}/{kind}/{identity}")
        assert (answer.status_code, answer.json()["code"]) == (404, "lineage_not_found")


@pytest.mark.parametrize(
    "path",
    [f"job/{UUID(int=0)}", "job/none", "invoice_line/x", "invoice_line/2026-13~job~x~y~z~1",
     f"invoice_line/2026-01~job~{UUID(int=0)}~s~~NaN", f"invoice_line/0001-01~job~{UUID(int=0)}~s~~1",
     f"invoice_line/9999-12~job~{UUID(int=0)}~s~~1"],
)  # fmt: skip
def test_an_id_that_is_none_is_not_found(client: TestClient, path: str) -> None:
    answer = client.get(f"{PATH}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "lineage_not_found")


def test_an_unknown_kind_is_refused(client: TestClient) -> None:
    assert client.get(f"{PATH}/cat/{new_id()}").status_code == 422


def test_the_answer_is_bounded_and_says_so(client: TestClient, chain: Chain) -> None:
    found = walk(client, "dataset_version", chain.ids["data"], limit=4)
    assert len(found["nodes"]) == 4
    assert found["truncated"]
    assert all(edge["source"].split(":")[1] in {n["id"] for n in found["nodes"]} for edge in found["edges"])


def test_it_takes_few_statements_however_much_there_is(app: FastAPI, client: TestClient, chain: Chain) -> None:
    with chain.database.unit_of_work() as session:
        for step in range(100, 300):
            chain.checkpoint(session, f"late {step}", chain.ids["training"], chain.ids["first"], step)
        assert session.get_one(Checkpoint, chain.ids["late 299"]).step == 299
    statements: list[str] = []
    engine = app.state.database.engine
    listener = lambda *given: statements.append(given[2])  # noqa: E731 - to be removed again
    event.listen(engine, "before_cursor_execute", listener)
    try:
        found = walk(client, "dataset_version", chain.ids["data"])
    finally:
        event.remove(engine, "before_cursor_execute", listener)
    assert found["truncated"]
    assert len(statements) <= 30
