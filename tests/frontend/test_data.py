"""The rooms of datasets and their versions, over the real API, database and storage."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.datasets.files import Uploader, archive, digits, png
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
def make_dataset(make_client: Callable[..., TestClient]) -> Callable[..., Uploader]:
    """Make a dataset of a member over the API; the uploader fills it."""

    def make(member: Member, name: str = "numbers", files: dict[str, bytes] | None = None) -> Uploader:
        client = make_client(member.tenant)
        body = {"project_id": str(member.tenant.project_id), "name": name, "kind": "image"}
        uploader = Uploader(client, client.post("/api/v1/datasets", json=body).json()["id"])
        if files:
            assert uploader.send(archive(files)).status_code == 200
        return uploader

    return make


def freeze(uploader: Uploader, **wanted: Any) -> dict[str, Any]:
    answer = uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/versions", json=wanted)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_dataset_is_made_changed_found_and_deleted(visitor: Visitor, member: Member) -> None:
    project = str(member.tenant.project_id)
    assert "No datasets yet" in visitor.page("/data")
    assert f'value="{project}"' in visitor.page("/data/new")
    fields = {"name": "cats", "project_id": project, "kind": "image", "description": "From a shelter"}
    here = visitor.send("/data/new", fields).headers["location"]
    assert "Dataset cats was created." in visitor.page(here)
    changed = visitor.send(f"{here}/edit", {"description": "", "tags:lines": "team=a"})
    assert changed.status_code == 303
    page = visitor.page(here)
    assert "From a shelter" not in page
    assert '<span class="quiet">team=</span>a' in page
    assert "cats" in visitor.page(f"/data?text=AT&project={project}&kind=image")
    assert "No dataset matches" in visitor.page(f"/data?project={uuid4()}")
    assert "No dataset matches" in visitor.page("/data?kind=text")
    part = visitor.get("/data?text=cat", headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<div class="card" id="datasets"')
    wrong = visitor.send(f"{here}/delete", {"typed": "dogs"})
    assert wrong.status_code == 422
    assert "the name typed was not cats" in wrong.text
    assert visitor.send(f"{here}/delete", {"typed": "cats"}).status_code == 303
    assert visitor.get(here).status_code == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "This is needed."),
        ({"name": "no spaces"}, "field-name-error"),
        ({"project_id": ""}, "field-project_id-error"),
        ({"project_id": "0190a0a0-0000-7000-8000-000000000000"}, "There is no project"),
        ({"target_column": "age"}, "Only a dataset of kind"),
        ({"kind": "sound"}, "Choose one of the list."),
        ({"tags:lines": "no pair"}, "Write one key=value per line."),
    ],
)
def test_a_wrong_dataset_is_explained(visitor: Visitor, member: Member, change: dict[str, str], said: str) -> None:
    good = {"name": "cats", "project_id": str(member.tenant.project_id), "kind": "image", "description": "stays"}
    answer = visitor.send("/data/new", good | change)
    assert answer.status_code == 422
    assert said in answer.text
    assert "stays" in answer.text


def test_a_dataset_shows_what_it_holds_and_why_uploads_were_refused(
    visitor: Visitor, member: Member, make_dataset: Callable[..., Uploader]
) -> None:
    uploader = make_dataset(member, files=digits(3, 4))
    bad = archive({"0/a.gif": b"x", "1/b.png": b"no image", "2/<i>.png": b"y"})
    assert uploader.send(bad, file_name="bad.zip").status_code == 422
    rest = archive({f"9/{n}.png": png(n, size=(64, 64)) for n in range(40)})
    opened = uploader.open(rest, file_name="rest.zip")
    uploader.put(opened, 1, rest)
    here = f"/data/{uploader.dataset_id}"
    page = visitor.page(here)
    assert "12 files under 3 labels" in page
    assert "Convert these files to PNG or JPEG" in page
    assert "2/&lt;i&gt;.png" in page
    assert f"1 of {opened['part_count']} parts" in page
    parts = visitor.get(here, headers={"HX-Request": "true"}).text
    assert parts.count("hx-swap-oob") == 5
    assert visitor.get(f"{here}?files=12", headers={"HX-Request": "true"}).text.count("hx-swap-oob") == 4
    assert "bad.zip" in visitor.page(f"{here}/uploads")
    figure = visitor.get(f"{here}/classes.json").json()
    assert (figure["x"], figure["series"][0]["values"]) == (["0", "1", "2"], [4, 4, 4])
    same = visitor.get(f"{here}/open-uploads?sha256={opened['sha256']}").json()
    assert [one["id"] for one in same["uploads"]] == [opened["id"]]
    assert visitor.get(f"{here}/open-uploads?sha256={'0' * 64}").json() == {"uploads": []}
    assert visitor.send(f"/data/uploads/{opened['id']}/discard", {}).status_code == 303
    assert "Waiting for parts" not in visitor.page(here)
    again = visitor.send(f"/data/uploads/{opened['id']}/discard", {})
    assert again.status_code == 303


def test_files_are_paged_filtered_and_cached_by_content(
    visitor: Visitor, member: Member, make_dataset: Callable[..., Uploader]
) -> None:
    files = digits(2, 35)
    uploader = make_dataset(member, files=files)
    here = f"/data/{uploader.dataset_id}/files"
    first = visitor.page(here)
    assert first.count("<img") == 60
    older = first.partition("cursor=")[2].partition('"')[0]
    assert visitor.page(f"{here}?cursor={older}").count("<img") == 10
    one = visitor.page(f"{here}?label=1")
    assert one.count("<img") == 35
    address = first.partition('<img class="is-small" src="')[2].partition('"')[0]
    content = visitor.get(address)
    assert content.content == files["0/00.png"]
    assert content.headers["content-type"] == "image/png"
    assert "immutable" in content.headers["cache-control"]
    known = visitor.get(address, headers={"If-None-Match": content.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    saved = visitor.get(f"{address}?download=true")
    assert saved.headers["content-disposition"] == "attachment; filename*=UTF-8''0_00.png"
    assert visitor.get(f"{here}/{uuid4()}").status_code == 404
    assert visitor.get(f"{here}?cursor=made-up").status_code == 422


def test_a_split_is_shown_before_it_is_frozen(
    visitor: Visitor, member: Member, make_dataset: Callable[..., Uploader]
) -> None:
    uploader = make_dataset(member, files=digits(2, 20))
    here = f"/data/{uploader.dataset_id}/freeze"
    assert "Freeze the version" in visitor.page(here)
    shares = {"unit": "percent", "splits.train": "70", "splits.validation": "20", "splits.test": "10"}
    plan = visitor.get(f"{here}/plan", params=shares | {"stratify:flag": "true"}).text
    for files in ("28", "8", "4", "14"):
        assert f">{files}<" in plan
    counts = {"unit": "files", "splits.train": "20", "splits.validation": "", "splits.test": "10"}
    assert "Left out" in visitor.get(f"{here}/plan", params=counts | {"stratify:flag": "false"}).text
    made = visitor.send(here, shares | {"stratify:flag": "true", "seed": "7", "tags:lines": "use=first"})
    assert made.status_code == 303
    page = visitor.page(made.headers["location"])
    assert "Train 28 · Validation 8 · Test 4" in page
    assert "Version 1 of numbers is frozen." in page
    frozen = visitor.get(made.headers["location"] + "/classes.json").json()
    assert {one["name"]: one["values"] for one in frozen["series"]} == {
        "Train": [14, 14],
        "Validation": [4, 4],
        "Test": [2, 2],
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"splits.train": "80", "splits.test": "10"}, "fractions of a split sum to 1"),
        ({"splits.train": "a lot"}, "Write a number."),
        ({"splits.train": "180"}, "Write a number."),
        ({"splits.train": "nan"}, "Write a number."),
        ({"unit": "files", "splits.train": "1.5"}, "Write a whole number."),
        ({"unit": "files", "splits.train": "4000"}, "the dataset has 40"),
        ({"unit": "files", "splits.train": "1"}, "train would hold nothing"),
        ({"splits.train": "100", "seed": "-1"}, "It must be at least 0."),
    ],
)
def test_a_wrong_split_is_explained(
    visitor: Visitor, member: Member, make_dataset: Callable[..., Uploader], fields: dict[str, str], said: str
) -> None:
    uploader = make_dataset(member, files=digits(2, 20))
    here = f"/data/{uploader.dataset_id}/freeze"
    answer = visitor.send(here, fields | {"stratify:flag": "true"})
    assert answer.status_code == 422
    assert said.lower() in answer.text.lower()
    shown = visitor.get(f"{here}/plan", params=fields | {"stratify:flag": "true"})
    assert shown.status_code == 200
    assert said.lower() in shown.text.lower()


def test_a_version_shows_its_files_and_keeps_its_tags(
    visitor: Visitor, member: Member, make_dataset: Callable[..., Uploader]
) -> None:
    files = digits(2, 40)
    version = freeze(make_dataset(member, files=files), splits={"train": 60, "test": 20})
    here = f"/data/versions/{version['id']}"
    assert visitor.page(here).count("<img") == 60
    assert visitor.page(f"{here}?split=test").count("<img") == 20
    assert visitor.page(f"{here}?split=test&label=1").count("<img") == 10
    assert visitor.page(f"{here}?split=&label=nothing").count("<img") == 0
    assert visitor.page(f"{here}?cursor=60").count("<img") == 20
    assert visitor.get(f"{here}?cursor=x").status_code == 422
    address = visitor.page(here).partition('<img class="is-small" src="')[2].partition('"')[0]
    assert visitor.get(address).content == files["0/00.png"]
    assert visitor.get(f"{here}/files/{'0' * 64}").status_code == 404
    assert visitor.send(f"{here}/tags", {"tags:lines": "no pair"}).status_code == 422
    assert visitor.send(f"{here}/tags", {"tags:lines": "use=baseline"}).status_code == 303
    assert "use=baseline" in visitor.page(here)
    assert visitor.send(f"{here}/tags", {"tags:lines": ""}).status_code == 303
    assert "use=baseline" not in visitor.page(here)
    dataset = f"/data/{version['dataset_id']}"
    assert "has versions" in visitor.page(f"{dataset}/edit")
    kept = visitor.send(f"{dataset}/delete", {"typed": "numbers"})
    assert kept.status_code == 422
    assert "has versions, which jobs and models refer to" in kept.text
    assert "Version 1" in visitor.page(f"{dataset}/versions")
    assert "Version 1" in visitor.page("/data")


def test_versions_are_compared(visitor: Visitor, member: Member, make_dataset: Callable[..., Uploader]) -> None:
    uploader = make_dataset(member, files=digits(2, 10))
    first = freeze(uploader, splits={"train": 10, "validation": 5, "test": 5})
    alone = visitor.page(f"/data/versions/{first['id']}/compare")
    assert "Nothing to compare with" in alone
    uploader.send(archive({f"2/{n}.png": png(100 + n) for n in range(5)}))
    second = freeze(uploader, splits={"train": 15, "validation": 5, "test": 5})
    here = f"/data/versions/{second['id']}/compare"
    page = visitor.page(here)
    assert page.count("<img") == 5
    assert ">+5<" in page
    moved = visitor.page(f"{here}?change=moved&against={first['id']}")
    assert " → " in moved
    back = visitor.page(f"/data/versions/{first['id']}/compare?against={second['id']}&change=removed")
    shown = back.partition('<img class="is-small" src="')[2].partition('"')[0]
    assert visitor.get(shown).status_code == 200
    assert visitor.get(f"{here}?change=eaten").status_code == 422
    other = freeze(make_dataset(member, "others", digits(2, 4)), splits={"train": 8})
    assert visitor.get(f"{here}?against={other['id']}").status_code == 404


def test_data_of_others_is_not_there(
    visitor: Visitor, make_member: Callable[..., Member], make_dataset: Callable[..., Uploader]
) -> None:
    uploader = make_dataset(make_member(), "secret", digits(2, 4))
    opened = uploader.open(archive(digits(3, 9)))
    version = freeze(uploader, splits={"train": 8})
    file = uploader.client.get(f"/api/v1/dataset-versions/{version['id']}/files").json()["items"][0]
    dataset, frozen = f"/data/{uploader.dataset_id}", f"/data/versions/{version['id']}"
    hidden = [dataset, f"{dataset}/files", f"{dataset}/uploads", f"{dataset}/versions", f"{dataset}/edit"]
    hidden += [f"{dataset}/freeze", f"{dataset}/freeze/plan", f"{dataset}/classes.json", "/data/no-id"]
    hidden += [f"{dataset}/open-uploads?sha256={opened['sha256']}", frozen, f"{frozen}/compare"]
    hidden += [f"{frozen}/classes.json", f"{frozen}/files/{file['sha256']}", "/data/versions/no-id"]
    assert [path for path in hidden if visitor.get(path).status_code != 404] == []
    acts = [f"{dataset}/edit", f"{dataset}/delete", f"{dataset}/freeze", f"{frozen}/tags"]
    acts += [f"/data/uploads/{opened['id']}/discard"]
    fields = {"typed": "secret", "splits.train": "100", "tags:lines": "a=b"}
    assert [path for path in acts if visitor.send(path, fields).status_code != 404] == []
    assert "secret" not in visitor.page("/data")


def test_a_viewer_sees_and_changes_nothing(
    app: FastAPI, make_member: Callable[..., Member], make_dataset: Callable[..., Uploader]
) -> None:
    member = make_member("viewer")
    uploader = make_dataset(member, files=digits(2, 4))
    opened = uploader.open(archive(digits(3, 9)))
    version = freeze(uploader, splits={"train": 8})
    visitor = Visitor(app, member)
    dataset, frozen = f"/data/{uploader.dataset_id}", f"/data/versions/{version['id']}"
    assert "data-uploader" not in visitor.page(dataset)
    assert "Change the tags" not in visitor.page(frozen)
    assert "New dataset" not in visitor.page("/data")
    acts = ["/data/new", f"{dataset}/edit", f"{dataset}/delete", f"{dataset}/freeze", f"{frozen}/tags"]
    acts += [f"/data/uploads/{opened['id']}/discard"]
    assert [path for path in acts if visitor.send(path, {"typed": "numbers"}).status_code != 403] == []
    assert [
        path for path in ("/data/new", f"{dataset}/edit", f"{dataset}/freeze") if visitor.get(path).status_code != 403
    ] == []
