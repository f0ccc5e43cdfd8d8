"""Pages of tables, texts and imports, over the real API, database and storage."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.datasets.files import Uploader
from tests.datasets.tables import csv_of, json_lines, paragraphs
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
def make(make_client: Callable[..., TestClient], member: Member) -> Callable[..., Uploader]:
    """Make a dataset of the member; the uploader fills it."""

    def create(kind: str, **other: Any) -> Uploader:
        client = make_client(member.tenant)
        body = {"project_id": str(member.tenant.project_id), "name": f"some-{kind}", "kind": kind, **other}
        return Uploader(client, client.post("/api/v1/datasets", json=body).json()["id"])

    return create


def freeze(uploader: Uploader) -> str:
    answer = uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/versions", json={})
    assert answer.status_code == 201, answer.text
    return f"/data/versions/{answer.json()['id']}"


def test_a_table_shows_its_columns_and_first_rows(visitor: Visitor, make: Callable[..., Uploader]) -> None:
    uploader = make("tabular", target_column="target")
    here = f"/data/{uploader.dataset_id}"
    assert "What it holds appears here" in visitor.page(here)
    uploader.send(csv_of("wine"), file_name="wine.csv")
    page = visitor.page(here)
    assert "178 rows of 14 columns" in page
    assert "malic_acid" in page
    assert "mean 13.001 ± 0.8095" in page
    assert "class_1" in page
    assert "14.23" in page
    assert "wine.csv" in visitor.page(f"{here}/files")
    assert "125" not in visitor.page(f"{here}/freeze/plan?unit=percent&splits.train=100")
    frozen = visitor.page(freeze(uploader))
    assert "Train 142" in frozen
    assert "malic_acid" in frozen
    assert "train.parquet" in frozen


def test_versions_of_a_table_are_compared_by_rows_and_columns(
    visitor: Visitor, make: Callable[..., Uploader], make_member: Callable[..., Member], app: FastAPI
) -> None:
    uploader = make("tabular")
    uploader.send(b"size,colour,weight\n1,red,1.5\n2,blue,2.5\n3,red,3.5\n4,red,4.5\n", file_name="first.csv")
    first = freeze(uploader)
    assert "Nothing to compare with" in visitor.page(f"{first}/compare")
    uploader.send(b"size,colour,weight\n5.5,red,9.5\n6,red,8.5\n", file_name="second.csv")
    second = freeze(uploader)
    page = visitor.page(f"{second}/compare")
    assert "+2" in page
    assert "4 → 6" in page
    for name, change in (("size", "Another type"), ("weight", "Other values"), ("colour", "Other values")):
        row = next(part for part in page.split("<tr>") if f'<span class="name">{name}</span>' in part)
        assert change in row, name
    assert "train.parquet" not in page
    backwards = visitor.page(f"{first}/compare?against={second.rpartition('/')[2]}")
    assert "-2" in backwards
    assert Visitor(app, make_member()).get(f"{second}/compare").status_code == 404


def test_a_target_is_changed_or_refused_beside_its_field(visitor: Visitor, make: Callable[..., Uploader]) -> None:
    uploader = make("tabular")
    uploader.send(csv_of("wine"), file_name="wine.csv")
    here = f"/data/{uploader.dataset_id}"
    wrong = visitor.send(f"{here}/edit", {"description": "kept", "target_column": "colour"})
    assert wrong.status_code == 422
    assert "There is no column &#39;colour&#39;" in wrong.text
    assert "kept" in wrong.text
    assert visitor.send(f"{here}/edit", {"target_column": "target"}).status_code == 303
    assert 'value="target"' in visitor.page(f"{here}/edit")
    assert visitor.send(f"{here}/edit", {"target_column": ""}).status_code == 303
    assert 'value="target"' not in visitor.page(f"{here}/edit")


def test_texts_show_samples_and_lengths(visitor: Visitor, make: Callable[..., Uploader]) -> None:
    uploader = make("text")
    texts = paragraphs()
    uploader.send(json_lines(texts), file_name="manual.jsonl")
    page = visitor.page(f"/data/{uploader.dataset_id}")
    assert f"{len(texts)} texts under 3 labels" in page
    assert "text-sample" in page
    assert "operations" in visitor.page(freeze(uploader))


def test_an_import_is_started_followed_and_cancelled(visitor: Visitor, make: Callable[..., Uploader]) -> None:
    uploader = make("tabular")
    here = f"/data/{uploader.dataset_id}/imports"
    assert "Nothing was imported yet" in visitor.page(here)
    fields = {"source": "https://files.invalid/data.csv?key=xyzzy", "credentials.authorization": "Bearer secret"}
    assert visitor.send(here, fields).headers["location"] == here
    page = visitor.page(here)
    assert "data.csv is being fetched." in page
    assert "xyzzy" not in page
    assert 'hx-trigger="every 2s"' in page
    row = uploader.client.get(f"/api/v1/datasets/{uploader.dataset_id}/imports").json()["items"][0]
    assert visitor.send(f"/data/imports/{row['id']}/cancel", {}).headers["location"] == here
    assert "being cancelled" in visitor.page(here)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": ""}, "field-source-error"),
        ({"source": "ftp://a.example/b.csv"}, "field-source-error"),
        ({"source": "https://169.254.169.254/a.csv"}, "169.254.169.254 is no public address"),
        ({"source": "https://a.example/"}, "ends in no file name"),
        ({"source": "https://a.example/a.zip"}, "takes no file named"),
        ({"source": "https://a.example/a.csv", "region": "eu-west-1"}, "Only an s3:// source has"),
        ({"source": "s3://b/a.csv", "credentials.access_key_id": "key"}, "credentials"),
    ],
)
def test_a_bad_import_is_said_and_what_was_typed_stays(
    visitor: Visitor, make: Callable[..., Uploader], fields: dict[str, str], said: str
) -> None:
    uploader = make("tabular")
    answer = visitor.send(f"/data/{uploader.dataset_id}/imports", {**fields, "credentials.authorization": ""})
    assert answer.status_code == 422
    assert said in answer.text
    assert fields["source"] in answer.text


def test_foreign_imports_are_not_found_and_viewers_start_none(
    app: FastAPI, make: Callable[..., Uploader], make_member: Callable[..., Member]
) -> None:
    uploader = make("tabular")
    address = f"/api/v1/datasets/{uploader.dataset_id}/imports"
    row = uploader.client.post(address, json={"source": "https://files.invalid/a.csv"}).json()
    stranger = Visitor(app, make_member())
    assert stranger.get(f"/data/{uploader.dataset_id}/imports").status_code == 404
    assert stranger.send(f"/data/imports/{row['id']}/cancel", {}).status_code == 404
    viewer = Visitor(app, make_member("viewer"))
    assert viewer.send(f"/data/{uploader.dataset_id}/imports", {"source": "https://a.example/a.csv"}).status_code == 403
