"""The drawn lineage over the platform's own rows."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.core.db import Database
from backend.core.ids import new_id
from tests.frontend.conftest import Member
from tests.frontend.test_dashboard import enter
from tests.frontend.test_pages import parse
from tests.lineage.chain import MONTH, SHAPE, Chain

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member("viewer")


@pytest.fixture
def chain(member: Member, controller_database: Database) -> Chain:
    return Chain(member.tenant, controller_database).build()


@pytest.fixture
def visitor(site: FastAPI, member: Member) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        enter(client, member)
        yield client


def test_every_node_is_a_link_in_the_picture_and_in_the_tree(visitor: TestClient, chain: Chain) -> None:
    page = visitor.get(f"/lineage/dataset_version/{chain.ids['data']}")
    assert page.status_code == 200
    assert parse(page.text).refused == []
    for kind, name in (("job", "training"), ("model_version", "int8"), ("variant", "variant fp32")):
        assert page.text.count(f'href="/lineage/{kind}/{chain.ids[name]}"') >= 2
    line = f"/lineage/invoice_line/{MONTH}~endpoint~{chain.ids['endpoint']}~instance:{SHAPE}:on-demand~int8~0.001"
    assert f'href="{line}"' in page.text
    assert "Not everything is shown" in page.text
    back = visitor.get(line)
    assert back.status_code == 200
    assert f'href="/lineage/dataset_version/{chain.ids["data"]}"' in back.text


def test_what_a_thing_was_made_of_stands_left_of_it(visitor: TestClient, chain: Chain) -> None:
    page = visitor.get(f"/lineage/model_version/{chain.ids['int8']}").text

    def left(kind: str, name: str) -> int:
        box = page.split(f'<a href="/lineage/{kind}/{chain.ids[name]}"', 1)[1]
        return int(box.split(' x="', 1)[1].split('"', 1)[0])

    order = [("dataset_version", "data"), ("job", "training"), ("attempt", "first"), ("checkpoint", "step 50"),
             ("attempt", "second"), ("model_version", "fp32"), ("job", "compression"), ("attempt", "only"),
             ("model_version", "int8"), ("variant", "variant int8")]  # fmt: skip
    places = [left(kind, name) for kind, name in order]
    assert places == sorted(set(places))


def test_what_is_not_there_or_anothers_is_not_found(
    site: FastAPI, visitor: TestClient, chain: Chain, make_member: Callable[..., Member]
) -> None:
    for path in (f"job/{new_id()}", "job/x", "cat/1", "invoice_line/x"):
        assert visitor.get(f"/lineage/{path}").status_code == 404
    with TestClient(site, headers=HTML, follow_redirects=False) as stranger:
        enter(stranger, make_member())
        assert stranger.get(f"/lineage/job/{chain.ids['training']}").status_code == 404
